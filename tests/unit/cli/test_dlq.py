"""``millrace dlq`` on a log in memory: what is listed, shown, put back, refused and deleted."""

import json
from io import StringIO

import click
import msgspec
import pytest
from rich.console import Console

from services.cli.dlq.decide import Wish
from services.cli.dlq.desk import Desk
from services.cli.dlq.options import Filters
from services.cli.dlq.running import run_list, run_purge, run_redrive, run_show
from services.cli.errors import CommandError
from services.cli.manner import Manner
from services.shared.codec.headers import (
    CRC32C,
    REQUEST_ID,
    SIGNATURE,
    checksum,
    headers_of_request,
)
from services.shared.codec.records import decode_record, encode_record
from services.shared.domain.dead_letters import Place
from services.shared.domain.errors import PublicError, Unavailable
from services.shared.domain.events import InferenceRequested
from services.shared.domain.ids import partition_for
from services.shared.domain.terminal import failed
from services.shared.domain.topics import Topic, dead_letters
from services.shared.stream.client import MAX_RECORD_BYTES
from tests.support.example_events import batch, finished, missed, request_id, requested, routed
from tests.support.fake_clock import FakeClock
from tests.support.memory_dead_letters import MemoryDeadLetterLog, bury, bury_again, raw_at
from tests.support.memory_log import MemoryCluster

_MISSES = Topic.CACHE_MISSES
_PUBLIC = Topic.INFERENCE_REQUESTS_P2
_RESULTS = Topic.INFERENCE_RESULTS
_BATCHES = Topic.REQUEST_BATCHES_P0
_YES = Manner(yes=True)
_POISON = PublicError(code="poison_record", message="The request could not be processed.")


class Table:
    """A desk on a cluster of its own, and what is printed there."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        read = (_MISSES, _PUBLIC, _RESULTS, _BATCHES)
        self.cluster = MemoryCluster(
            self.clock,
            topics=dict.fromkeys((*read, *map(dead_letters, read)), 2),
        )
        self._printed = StringIO()
        self.log = MemoryDeadLetterLog(self.cluster)
        console = Console(file=self._printed, width=80)
        self.desk = Desk(log=self.log, console=console, errors=console, now_ms=self.clock.now_ms)

    def bury_miss(self, number: int, *, reason: str = "processor_error") -> str:
        """A dead letter of a miss; returns its id."""
        event = missed(number)
        return bury(
            self.cluster,
            _MISSES,
            encode_record(event),
            key=event.request.request_id.encode(),
            headers=headers_of_request(event.request),
            reason=reason,
        )

    def end(self, number: int) -> None:
        """End a request as the runtime does when its record is poison."""
        end = failed(requested(number), _POISON, now_ms=self.clock.now_ms())
        self.cluster.append(
            _RESULTS, key=end.request_id.encode(), value=encode_record(end), partition=1
        )

    def redrive(
        self, *ids: str, wish: Wish | None = None, manner: Manner = _YES, **filters: object
    ) -> bool:
        """Redrive; whether nothing was refused."""
        meant = Filters(ids=list(ids) or None, **filters)  # type: ignore[arg-type]
        return run_redrive(self.desk, meant, wish or Wish(), manner)

    def printed(self) -> str:
        """What was printed since this was last asked."""
        text = self._printed.getvalue()
        self._printed.truncate(0)
        self._printed.seek(0)
        return text


@pytest.fixture
def table() -> Table:
    """A cluster without dead letters."""
    return Table()


# -- list ------------------------------------------------------------------------------------------


def test_a_list_has_a_line_a_dead_letter_and_counts(table: Table) -> None:
    """Its id is the place of its original record; off a terminal columns are parted by tabs."""
    first = table.bury_miss(1)
    table.clock.advance(600)
    second = table.bury_miss(2, reason="bad_key")
    table.redrive(second)
    table.printed()
    run_list(table.desk, Filters(), as_json=False)
    rows = [line.split("\t") for line in table.printed().splitlines()]
    size = str(len(encode_record(missed(1))))
    assert rows == [
        ["id", "reason", "age", "request", "bytes", "redriven"],
        [first, "processor_error", "10m", request_id(1), size, "no"],
        [second, "bad_key", "0s", request_id(2), size, "to cache-misses-0-2"],
        [""],
        ["topic", "reason", "dead letters", "redriven"],
        ["cache-misses", "bad_key", "1", "1"],
        ["cache-misses", "processor_error", "1", "0"],
    ]


def test_a_list_for_programs_says_the_same(
    table: Table, capsys: pytest.CaptureFixture[str]
) -> None:
    """One document, with all that headers say."""
    letter_id = table.bury_miss(1)
    run_list(table.desk, Filters(), as_json=True)
    document = json.loads(capsys.readouterr().out)
    (letter,) = document["dead_letters"]
    assert (letter["id"], letter["retriable"], letter["groups"]) == (letter_id, True, ["probe"])
    assert letter["dead_letter"] == "cache-misses-dlq-0-0"
    assert document["counts"] == [
        {"topic": "cache-misses", "reason": "processor_error", "dead_letters": 1, "redriven": 0}
    ]


def test_filters_narrow_a_list_down(table: Table, capsys: pytest.CaptureFixture[str]) -> None:
    """By topic, by its dead-letter topic, age, request, reason."""
    old = table.bury_miss(1, reason="bad_key")
    table.clock.advance(3_600)
    event = batch(routed(2), routed(3))
    new = bury(table.cluster, _BATCHES, encode_record(event), key=event.batch_id.encode())

    def listed(**filters: object) -> list[str]:
        run_list(table.desk, Filters(**filters), as_json=True)  # type: ignore[arg-type]
        return [it["id"] for it in json.loads(capsys.readouterr().out)["dead_letters"]]

    assert listed() == [old, new]
    assert listed(topic=_MISSES) == listed(topic=dead_letters(_MISSES)) == [old]
    assert listed(since="30m") == [new]
    assert listed(until="30m") == [old]
    assert listed(since="2026-05-28T20:26:40") == [old, new]
    assert listed(since="2030-01-01T00:00Z") == []
    assert listed(request=request_id(3)) == [new]
    assert listed(reasons=["bad_key"]) == [old]
    assert listed(retriable=True) == [new]


def test_an_empty_list_says_so(table: Table) -> None:
    """Which is good news, and no error."""
    run_list(table.desk, Filters(), as_json=False)
    assert table.printed() == "No dead letters.\n"


def test_what_strangers_write_moves_no_cursor(table: Table) -> None:
    """An id in a header that is none is not shown; nor are control characters."""
    table.cluster.append(dead_letters(_MISSES), value=b"a stranger's record")
    bury(table.cluster, _MISSES, b"\0", headers=[(REQUEST_ID, b"\x1b[2J evil")])
    run_list(table.desk, Filters(), as_json=False)
    printed = table.printed()
    assert "\x1b" not in printed
    assert printed.splitlines()[1].split("\t")[3] == "-"


@pytest.mark.parametrize(
    ("filters", "why"),
    [
        (Filters(topic="result-chunks"), "has no dead letters"),
        (Filters(topic=Topic.ROUTED_REQUESTS), "millrace topics apply"),
        (Filters(ids=["nonsense"]), "TOPIC-PARTITION-OFFSET"),
        (Filters(ids=["cache-misses-0-99"]), "No dead letter of cache-misses-0-99"),
        (Filters(reasons=["bad_luck"]), "no reason 'bad_luck'"),
        (Filters(since="yesterday"), "--since yesterday"),
        (Filters(until="1w"), "--until 1w"),
    ],
)
def test_what_cannot_be_meant_is_said(table: Table, filters: Filters, why: str) -> None:
    """The message says what to write instead."""
    with pytest.raises(CommandError, match=why):
        run_list(table.desk, filters, as_json=False)


# -- show ------------------------------------------------------------------------------------------


def test_a_dead_letter_is_shown_with_its_headers_record_and_end(table: Table) -> None:
    """Numbers of Spring's headers are decoded; prompts are not shown."""
    letter_id = table.bury_miss(1)
    table.end(1)
    run_show(table.desk, letter_id, with_text=False, as_json=False)
    printed = table.printed()
    lines = [line.split("\t") for line in printed.splitlines()]
    assert ["id", letter_id] in lines
    assert ["request", f"{request_id(1)} failed (poison_record)"] in lines
    assert ["kafka_dlt-original-offset", "0"] in lines
    assert ["kafka_dlt-original-timestamp", str(int(table.clock.now_ms()))] in lines
    assert '"CacheMissed"' in printed
    assert "bytes; --text shows them" in printed
    assert "How deep is the sea" not in printed


def test_a_prompt_is_shown_where_it_is_wanted(
    table: Table, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is somebody's own words."""
    letter_id = table.bury_miss(1)
    run_show(table.desk, letter_id, with_text=True, as_json=True)
    shown = json.loads(capsys.readouterr().out)
    body = shown["record"]["CacheMissed"]["request"]["body"]
    assert body["messages"][0]["content"] == "How deep is the sea?"
    assert shown["requests"] == {request_id(1): "has not ended"}


def test_what_cannot_be_decoded_is_shown_by_its_headers(table: Table) -> None:
    """A header that is no text is shown as hex."""
    letter_id = bury(table.cluster, _MISSES, b"\0\xff", headers=[("x", b"\xff\xfe")], key=None)
    table.redrive(letter_id)
    table.printed()
    run_show(table.desk, letter_id, with_text=False, as_json=False)
    printed = table.printed()
    assert "The value cannot be decoded." in printed
    assert "x\tfffe" in printed
    assert "key\tnone" in printed
    assert "0s ago to cache-misses-0-1" in printed


def test_copies_of_one_record_are_one(table: Table, capsys: pytest.CaptureFixture[str]) -> None:
    """Two groups gave the same result up."""
    letter_id = bury(table.cluster, _RESULTS, b"\0")
    bury_again(table.cluster, Place(_RESULTS, 0, 0), group="trace-exporter")
    run_show(table.desk, letter_id, with_text=False, as_json=True)
    shown = json.loads(capsys.readouterr().out)
    assert (shown["copies"], shown["groups"]) == (2, ["probe", "trace-exporter"])


# -- redrive ---------------------------------------------------------------------------------------


def test_a_redriven_record_is_what_it_was_where_it_was(table: Table) -> None:
    """Key, value, headers and partition are the original's; new ones say where it comes from."""
    letter_id = bury(table.cluster, _MISSES, b"value", key=b"k", headers=[("a", b"b")], partition=1)
    assert table.redrive(letter_id)
    raw = raw_at(table.cluster, Place(_MISSES, 1, 1))
    assert (raw.key, raw.value) == (b"k", b"value")
    assert list(raw.headers) == [
        ("a", b"b"),
        ("millrace-redriven-from", b"cache-misses-dlq-1-0"),
        ("millrace-redriven-at", b"%d" % table.clock.now_ms()),
        ("millrace-redrives", b"1"),
    ]
    assert table.printed() == (
        "cache-misses-1-0 put back to cache-misses-1-1\n1 put back, 0 left.\n"
    )


def test_a_second_redrive_is_refused(table: Table) -> None:
    """Unless it is wanted again; then it counts."""
    letter_id = table.bury_miss(1)
    assert table.redrive(letter_id)
    assert not table.redrive(letter_id)
    assert "was redriven already, to cache-misses-0-1; --again" in table.printed()
    assert len(table.cluster.records(_MISSES)) == 2
    assert table.redrive(letter_id, wish=Wish(again=True))
    assert dict(table.cluster.records(_MISSES)[-1].headers)["millrace-redrives"] == b"2"


def test_a_filter_leaves_out_what_was_redriven(table: Table) -> None:
    """So the same command can be given again, and does the rest."""
    table.bury_miss(1)
    assert table.redrive(topic=_MISSES)
    table.bury_miss(2)
    assert table.redrive(topic=_MISSES)
    assert table.printed().endswith("1 put back, 1 left.\n")
    assert len(table.cluster.records(_MISSES)) == 4


def test_a_copy_that_comes_later_is_not_put_back_again(table: Table) -> None:
    """What was redriven is the original record, whichever dead letter it was taken from."""
    letter_id = table.bury_miss(1)
    table.redrive(letter_id)
    bury_again(table.cluster, Place(_MISSES, 0, 0))
    assert not table.redrive(letter_id)


def test_a_redriven_record_that_dies_again_counts_on(table: Table) -> None:
    """Its new dead letter is one of its own, with the provenance of the last redrive."""
    table.redrive(table.bury_miss(1))
    bury_again(table.cluster, Place(_MISSES, 0, 1))
    assert table.redrive("cache-misses-0-1")
    headers = table.cluster.records(_MISSES)[-1].headers
    assert dict(headers)["millrace-redrives"] == b"2"
    assert len(dict(headers)) == len(headers)


def test_who_begins_later_shuts_out_who_began_before(table: Table) -> None:
    """Two at once put nothing back twice: the one reads the marks that the other left."""
    letter_id = table.bury_miss(1)
    with table.log.redriving() as write:
        assert table.redrive(letter_id)
        with pytest.raises(Unavailable, match="took over"):
            write([], 0)


def test_what_has_ended_is_left_unless_it_is_named_or_wanted(table: Table) -> None:
    """Nobody gets an answer, and a call may be paid: that is said of each."""
    letter_id = table.bury_miss(1)
    table.end(1)
    assert table.redrive(topic=_MISSES)
    assert "left: its requests have ended (failed (poison_record))" in table.printed()
    assert len(table.cluster.records(_MISSES)) == 1
    assert table.redrive(topic=_MISSES, wish=Wish(ended=True))
    assert "there is no new answer to them" in table.printed()
    assert table.redrive(letter_id, wish=Wish(again=True))
    assert len(table.cluster.records(_MISSES)) == 3


def test_a_batch_has_ended_when_all_its_members_have(table: Table) -> None:
    """One that waits is enough."""
    event = batch(routed(1), routed(2))
    bury(table.cluster, _BATCHES, encode_record(event), key=event.batch_id.encode())
    table.end(1)
    assert table.redrive(topic=_BATCHES)
    assert table.printed().endswith("1 put back, 0 left.\n")
    table.end(2)
    assert table.redrive(topic=_BATCHES, wish=Wish(again=True))
    assert table.printed().endswith("0 put back, 1 left.\n")


def test_a_result_is_put_back_though_its_request_has_ended(table: Table) -> None:
    """It is the end itself; its readers are the cache, the windows and the traces."""
    event = finished(1)
    headers = [(REQUEST_ID, event.request_id.encode())]
    bury(
        table.cluster,
        _RESULTS,
        encode_record(event),
        key=event.request_id.encode(),
        headers=headers,
    )
    assert table.redrive(topic=_RESULTS)
    assert table.printed().endswith("1 put back, 0 left.\n")


def test_a_producers_request_can_be_asked_anew(table: Table) -> None:
    """Under a new id of nobody's client, on that id's partition, as its producer would write it."""
    event = requested(1, tenant="", accepted_at=5, deadline_at=6)
    letter_id = bury(
        table.cluster,
        _PUBLIC,
        encode_record(event),
        headers=[("traceparent", b"t"), (REQUEST_ID, b"x" * 8), (CRC32C, b"0")],
    )
    table.end(1)
    assert table.redrive(letter_id, wish=Wish(as_new_request=True))
    raw = table.cluster.records(_PUBLIC)[-1]
    assert raw.value is not None
    record = decode_record(raw.value, InferenceRequested)
    assert raw.partition == partition_for(record.request_id, 2)
    assert raw.key == record.request_id.encode()
    assert record == msgspec.structs.replace(
        event, request_id=record.request_id, accepted_at=0, deadline_at=0
    )
    headers = dict(raw.headers)
    assert (headers[REQUEST_ID], headers[CRC32C]) == (raw.key, checksum(raw.value))
    assert (headers["traceparent"], headers["millrace-redrives"]) == (b"t", b"1")
    assert len(headers) == len(raw.headers)
    assert f"put back to {_PUBLIC}-{raw.partition}-" in table.printed()


@pytest.mark.parametrize(
    ("topic", "value", "headers", "why"),
    [
        (_MISSES, encode_record(missed(1)), [], "only what was read from a request topic"),
        (_PUBLIC, encode_record(requested(1)), [(SIGNATURE, b"0")], "a gateway accepted it"),
        (_PUBLIC, b"\0", [], "cannot be decoded"),
    ],
)
def test_what_cannot_be_asked_anew_is_refused(
    table: Table, topic: str, value: bytes, headers: list[tuple[str, bytes]], why: str
) -> None:
    """A tenant's request never runs on somebody else's account."""
    bury(table.cluster, topic, value, headers=headers)
    assert not table.redrive(topic=topic, wish=Wish(as_new_request=True))
    assert why in table.printed()
    assert len(table.cluster.records(topic)) == 1


def test_an_end_says_that_a_producers_request_can_be_asked_anew(table: Table) -> None:
    """Which is the only way to an answer."""
    bury(table.cluster, _PUBLIC, encode_record(requested(1)))
    table.end(1)
    assert table.redrive(topic=_PUBLIC)
    assert "--as-new-request asks anew" in table.printed()


def test_what_was_not_kept_cannot_be_put_back(table: Table) -> None:
    """The message says where the original is."""
    bury(table.cluster, _MISSES, b"", headers=[("millrace-omitted-bytes", b"9000000")])
    assert not table.redrive(topic=_MISSES)
    assert "9000000 bytes was too large to be kept" in table.printed()


def test_what_grows_too_large_is_left(table: Table) -> None:
    """The headers of a redrive need room, too."""
    bury(table.cluster, _MISSES, bytes(MAX_RECORD_BYTES - 200))
    table.bury_miss(1)
    assert not table.redrive(topic=_MISSES)
    printed = table.printed()
    assert "larger than its topic takes" in printed
    assert printed.endswith("1 put back, 1 left.\n")


def test_a_partition_that_is_no_more_takes_nothing(table: Table) -> None:
    """A cluster that was made anew may have fewer."""
    letter_id = bury(table.cluster, _MISSES, b"v", partition=1)
    table.cluster.topics[_MISSES] = 1
    assert not table.redrive(letter_id)
    assert "the cluster has no partition 1 of cache-misses" in table.printed()


def test_a_dead_letter_that_goes_meanwhile_is_said(
    table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Retention or a purge does not wait."""
    table.bury_miss(1)
    monkeypatch.setattr(table.log, "fetch", lambda _places: iter(()))
    assert not table.redrive(topic=_MISSES)
    assert "has been deleted meanwhile" in table.printed()


def test_many_are_put_back_in_several_transactions(table: Table) -> None:
    """None is forgotten at a boundary."""
    for number in range(101):
        table.bury_miss(number)
    assert table.redrive(topic=_MISSES)
    assert table.printed().endswith("101 put back, 0 left.\n")
    assert len(table.cluster.records(_MISSES)) == 202


def test_what_was_done_is_reported_when_kafka_fails(table: Table) -> None:
    """And the rest can be done later by the same command."""
    table.bury_miss(1)
    table.log.is_cut = True
    with pytest.raises(Unavailable):
        table.redrive(topic=_MISSES)
    assert table.printed() == "0 put back, 0 left.\n"
    table.log.is_cut = False
    assert table.redrive(topic=_MISSES)


def test_a_dry_run_does_nothing(table: Table, capsys: pytest.CaptureFixture[str]) -> None:
    """It says what would be done, and why the rest would not."""
    letter_id = table.bury_miss(1)
    manner = Manner(dry_run=True)
    assert table.redrive(letter_id, manner=manner)
    assert table.printed() == f"{letter_id} would be put back\n1 would be put back, 0 left.\n"
    table.redrive(letter_id, manner=msgspec.structs.replace(manner, as_json=True))
    document = json.loads(capsys.readouterr().out)
    assert document["dry_run"] is True
    assert [(it["id"], it["is_left"], it["to"]) for it in document["results"]] == [
        (letter_id, False, None)
    ]
    assert run_purge(table.desk, Filters(topic=_MISSES), manner)
    assert "1 dead letters would be deleted (everything before offset 1)" in table.printed()
    assert len(table.cluster.records(_MISSES)) == 1


def test_nobody_who_says_no_gets_it_done(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both changes ask first, and say what they will do."""
    table.bury_miss(1)
    table.end(1)
    asked: list[str] = []

    def refuse(question: str, **_: object) -> None:
        asked.append(question)
        raise click.Abort

    monkeypatch.setattr("typer.confirm", refuse)
    with pytest.raises(click.Abort):
        table.redrive("cache-misses-0-0", manner=Manner())
    with pytest.raises(click.Abort):
        run_purge(table.desk, Filters(topic=_MISSES), Manner())
    assert asked == [
        "1 dead letters will be put back. 1 of them for nobody: their requests have ended. Go on?",
        "1 dead letters of cache-misses-dlq will be deleted. Go on?",
    ]
    assert len(table.cluster.records(_MISSES)) == 1


def test_all_of_them_are_not_meant_by_mistake(table: Table) -> None:
    """A change without any filter is refused."""
    with pytest.raises(CommandError, match="Say which"):
        table.redrive()
    with pytest.raises(CommandError, match="Say which"):
        run_purge(table.desk, Filters(ids=[], reasons=[]), _YES)


# -- purge -----------------------------------------------------------------------------------------


def test_a_purge_deletes_up_to_what_is_not_meant(
    table: Table, capsys: pytest.CaptureFixture[str]
) -> None:
    """And says what is meant but stays, with an exit code of its own."""
    for reason in ("bad_key", "bad_key", "crash_loop", "bad_key"):
        table.bury_miss(1, reason=reason)
    filters = Filters(reasons=["bad_key"])
    assert not run_purge(table.desk, filters, _YES)
    printed = table.printed()
    assert "cache-misses-dlq partition 0: 2 dead letters deleted (everything before offset 2)" in (
        printed
    )
    assert "partition 0: 1 are meant but stay" in printed
    run_list(table.desk, Filters(), as_json=True)
    left = json.loads(capsys.readouterr().out)["dead_letters"]
    assert [it["reason"] for it in left] == ["crash_loop", "bad_key"]
    assert not run_purge(table.desk, filters, Manner(as_json=True))
    assert json.loads(capsys.readouterr().out)["partitions"] == [
        {
            "topic": "cache-misses-dlq",
            "partition": 0,
            "deleted": 0,
            "before_offset": None,
            "left": 1,
        }
    ]


def test_marks_go_with_their_dead_letters(table: Table) -> None:
    """A topic that is purged whole is empty."""
    table.redrive(table.bury_miss(1))
    table.printed()
    assert run_purge(table.desk, Filters(topic=_MISSES), _YES)
    assert "everything before offset 2" in table.printed()
    run_list(table.desk, Filters(), as_json=False)
    assert table.printed() == "No dead letters.\n"


def test_a_purge_of_nothing_says_so(table: Table) -> None:
    """It is no error."""
    assert run_purge(table.desk, Filters(topic=_MISSES), Manner())
    assert table.printed() == "No dead letter is meant.\n"
