"""``millrace dlq`` and ``millrace usage`` as they are called, on a real broker."""

import json
import time
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import pytest
from aiokafka.structs import ConsumerRecord
from confluent_kafka import Producer
from rich.console import Console
from typer.testing import CliRunner, Result

from services.cli.__main__ import app
from services.cli.invocation import Invocation
from services.shared.codec.headers import headers_of_request
from services.shared.codec.records import encode_record
from services.shared.codec.topics import packaged_topics
from services.shared.domain.dead_letters import DeadLetter, Place
from services.shared.domain.errors import PoisonRecord, Unavailable
from services.shared.domain.events import UsageRecorded
from services.shared.domain.topics import Topic, dead_letters
from services.shared.stream.admin import apply_topics
from services.shared.stream.bulk import BulkReader, Position, Read
from services.shared.stream.client import Raw
from services.shared.stream.dead_letter_log import DeadLetterLog, Outgoing
from services.shared.stream.poison import dead_letter_headers
from tests.support.example_events import finished, missed, request_id
from tests.support.kafka_broker import kafka_server

pytestmark = pytest.mark.kafka

_TOPIC = Topic.CACHE_MISSES
_DLQ = dead_letters(_TOPIC)
_USED = (_TOPIC, Topic.INFERENCE_RESULTS, Topic.USAGE_LEDGER)
_ANSWER_S = 20.0
_LED_S = 60.0
_LOOK_AGAIN_S = 0.1


class Terminal:
    """Calls commands on a cluster."""

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap
        self._producer = Producer({"bootstrap.servers": bootstrap, "log_level": 0})

    def call(self, *arguments: str, answer: str = "") -> tuple[Result, str]:
        """Run a command; its result and what it printed for people."""
        printed = StringIO()
        console = Console(file=printed, width=80)
        invocation = Invocation(environ={}, folder=Path(), console=console, errors=console)
        result = CliRunner().invoke(
            app, [*arguments, "--bootstrap", self.bootstrap], obj=invocation, input=answer
        )
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result, printed.getvalue()

    def write(
        self,
        topic: str,
        value: bytes | None,
        *,
        key: bytes | None = None,
        headers: list[tuple[str, bytes]] | None = None,
        partition: int = 0,
    ) -> int:
        """Write a record; returns its offset."""
        offsets: list[int] = []
        self._producer.produce(
            topic,
            value,
            key,
            partition,
            headers=list(headers or ()),
            on_delivery=lambda _error, message: offsets.append(message.offset() or 0),
        )
        assert self._producer.flush(_ANSWER_S) == 0
        return offsets[0]

    def bury(self, number: int, *, reason: str = "processor_error", partition: int = 1) -> str:
        """Write a miss, and its dead letter as the runtime does; returns its id."""
        event = missed(number)
        key = event.request.request_id.encode()
        value, headers = encode_record(event), headers_of_request(event.request)
        offset = self.write(_TOPIC, value, key=key, headers=headers, partition=partition)
        raw: Raw = ConsumerRecord(
            topic=_TOPIC,
            partition=partition,
            offset=offset,
            timestamp=1_000,
            timestamp_type=0,
            key=key,
            value=value,
            checksum=None,
            serialized_key_size=0,
            serialized_value_size=0,
            headers=tuple(headers),
        )
        why = dead_letter_headers(raw, PoisonRecord(reason, "why"), group="router")
        self.write(_DLQ, value, key=key, headers=[*headers, *why], partition=partition)
        return f"{_TOPIC}-{partition}-{offset}"

    def records(self, topic: str) -> list[Read]:
        """What a topic holds."""
        reader = BulkReader(self.bootstrap, topic, position=Position())
        try:
            return [record for batch in reader.batches(follow=False) for record in batch]
        finally:
            reader.close()


@pytest.fixture(scope="module")
def bootstrap() -> Iterator[str]:
    """A broker of this module's own: the topics have fixed names."""
    with kafka_server() as server:
        specs = {str(name): packaged_topics()[name] for name in _USED}
        topics = [
            change.wanted.name for change in apply_topics(server.bootstrap, specs, partitions=2)
        ]
        _until_led(server.bootstrap, topics)
        yield server.bootstrap


def _until_led(bootstrap: str, topics: list[str]) -> None:
    """Return once every partition of new topics has a leader that knows it."""
    give_up_at_s = time.monotonic() + _LED_S
    for topic in topics:
        while True:
            try:
                BulkReader(bootstrap, topic, position=Position()).close()
            except Unavailable:
                assert time.monotonic() < give_up_at_s, f"no leader of {topic}"
                time.sleep(_LOOK_AGAIN_S)
            else:
                break


@pytest.fixture
def terminal(bootstrap: str) -> Terminal:
    """A terminal on a cluster whose dead letters are all gone."""
    made = Terminal(bootstrap)
    left = made.records(_DLQ)
    if left:
        DeadLetterLog(bootstrap).delete(_DLQ, {record.partition: -1 for record in left})
    return made


def test_a_dead_letter_is_listed_shown_and_put_back_once(terminal: Terminal) -> None:
    """The second redrive is refused: the mark of the first is on the dead-letter topic."""
    letter_id = terminal.bury(1)
    result, printed = terminal.call("dlq", "list")
    assert result.exit_code == 0
    assert printed.splitlines()[1].split("\t")[:2] == [letter_id, "processor_error"]

    result, _ = terminal.call("dlq", "show", letter_id, "--json")
    shown = json.loads(result.stdout)
    assert dict(shown["headers"])["kafka_dlt-original-partition"] == "1"
    assert shown["requests"] == {request_id(1): "has not ended"}

    before = terminal.records(_TOPIC)
    result, printed = terminal.call("dlq", "redrive", letter_id, "--yes")
    assert (result.exit_code, printed.splitlines()[-1]) == (0, "1 put back, 0 left.")
    (put_back,) = terminal.records(_TOPIC)[len(before) :]
    original = before[-1]
    assert (put_back.partition, put_back.key, put_back.value) == (1, original.key, original.value)
    assert put_back.headers[: len(original.headers)] == original.headers
    assert [name for name, _ in put_back.headers[len(original.headers) :]] == [
        "millrace-redriven-from",
        "millrace-redriven-at",
        "millrace-redrives",
    ]

    result, printed = terminal.call("dlq", "redrive", letter_id, "--yes")
    assert result.exit_code == 1
    to = Place(_TOPIC, put_back.partition, put_back.offset)
    assert f"was redriven already, to {to}" in printed
    assert len(terminal.records(_TOPIC)) == len(before) + 1
    _, printed = terminal.call("dlq", "list")
    assert f"to {to}" in printed


def test_a_request_that_has_ended_is_told_of(terminal: Terminal) -> None:
    """Its terminal record is found by its key."""
    letter_id = terminal.bury(2)
    end = finished(2)
    terminal.write(Topic.INFERENCE_RESULTS, encode_record(end), key=end.request_id.encode())
    result, printed = terminal.call("dlq", "redrive", "--request", end.request_id, "--yes")
    assert result.exit_code == 0
    assert f"{letter_id} left: its requests have ended (completed)" in printed


def test_who_answers_no_changes_nothing(terminal: Terminal) -> None:
    """Neither redrive nor purge."""
    letter_id = terminal.bury(3)
    count = len(terminal.records(_TOPIC))
    for command in ("redrive", "purge"):
        result, _ = terminal.call("dlq", command, letter_id, answer="n\n")
        assert result.exit_code == 1
    assert len(terminal.records(_TOPIC)) == count
    assert len(terminal.records(_DLQ)) == 1


def test_a_later_redrive_shuts_out_an_earlier_one(terminal: Terminal) -> None:
    """It can write nothing more, so what the later one reads is all there will be."""
    letter_id = terminal.bury(4)
    count = len(terminal.records(_TOPIC))
    place = Place(_DLQ, 1, 0)
    letter = DeadLetter(
        place=place,
        origin=place,
        reason="",
        detail="",
        group="",
        written_at_ms=0,
        died_at_ms=0,
    )
    late = Outgoing(letter=letter, topic=_TOPIC, partition=0, key=None, value=b"", headers=())
    with DeadLetterLog(terminal.bootstrap).redriving() as write:
        result, _ = terminal.call("dlq", "redrive", letter_id, "--yes")
        assert result.exit_code == 0
        with pytest.raises(Unavailable, match="took over"):
            write([late], 0)
    assert len(terminal.records(_TOPIC)) == count + 1


def test_a_redrive_is_whole_or_not_at_all(terminal: Terminal) -> None:
    """A mark that cannot be written fails the transaction: its record is not readable either."""
    terminal.bury(5)
    count = len(terminal.records(_TOPIC))
    place = Place(_DLQ, 99, 0)
    letter = DeadLetter(
        place=place,
        origin=place,
        reason="",
        detail="",
        group="",
        written_at_ms=0,
        died_at_ms=0,
    )
    record = Outgoing(letter=letter, topic=_TOPIC, partition=0, key=None, value=b"x", headers=())
    with (
        pytest.raises(Unavailable),
        DeadLetterLog(terminal.bootstrap).redriving() as write,
    ):
        write([record], 0)
    assert len(terminal.records(_TOPIC)) == count
    result, _ = terminal.call("dlq", "redrive", "--topic", _TOPIC, "--yes")
    assert result.exit_code == 0
    assert len(terminal.records(_TOPIC)) == count + 1


def test_a_purge_deletes_the_beginning(terminal: Terminal) -> None:
    """What lies behind a dead letter that is not meant stays, and the exit code says so."""
    for reason in ("bad_key", "crash_loop", "bad_key"):
        terminal.bury(6, reason=reason)
    result, printed = terminal.call("dlq", "purge", "--reason", "bad_key", "--yes")
    assert result.exit_code == 1
    assert "1 dead letters deleted" in printed
    assert "1 are meant but stay" in printed
    assert len(terminal.records(_DLQ)) == 2
    result, _ = terminal.call("dlq", "purge", "--topic", _TOPIC, "--yes")
    assert result.exit_code == 0
    assert terminal.records(_DLQ) == []
    _, printed = terminal.call("dlq", "list")
    assert printed == "No dead letters.\n"


def test_the_ledger_is_added_up(terminal: Terminal) -> None:
    """A row that is there twice counts once, and what was unknown gives way."""
    for kind, cost in (("unknown", 5), ("attempt", 2_000_000_000), ("attempt", 7)):
        row = UsageRecorded(
            row_id="request-1", kind=kind, tenant="acme", model="small", cost_nanousd=cost
        )
        terminal.write(Topic.USAGE_LEDGER, encode_record(row), key=b"acme")
    result, _ = terminal.call("usage", "--tenant", "acme", "--json")
    (used,) = json.loads(result.stdout)["usage"]
    assert (used["calls"], used["unknown"], used["cost_usd"]) == (1, 0, "2")
    _, printed = terminal.call("usage", "--since", "2000-01-01")
    assert printed == "Nothing was used.\n"
