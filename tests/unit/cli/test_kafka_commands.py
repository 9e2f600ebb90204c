"""The commands that speak to Kafka, as far as nothing has to run for it."""

import json
import re
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from services.cli.__main__ import app
from services.cli.conditions import condition
from services.cli.errors import CommandError
from services.cli.invocation import Invocation
from services.cli.local_stack.lock import hold
from services.cli.local_stack.state import Layout, Stack, StackState, write_json
from services.shared.codec.topics import packaged_topics
from services.shared.domain.errors import Unavailable

NOBODY = "127.0.0.1:1"
USAGE_ERROR = 2
CHAT = {"model": "m", "messages": []}


@pytest.fixture
def screen() -> StringIO:
    """What a terminal of the usual width shows."""
    return StringIO()


def call(folder: Path, screen: StringIO, *arguments: str) -> Result:
    """Run a command; its errors are raised."""
    console = Console(file=screen, width=80)
    invocation = Invocation(environ={}, folder=folder, console=console, errors=console)
    result = CliRunner().invoke(app, arguments, obj=invocation)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_the_list_shows_whole_names_of_topics(tmp_path: Path, screen: StringIO) -> None:
    """They are there to be copied, so a narrow terminal cuts none."""
    call(tmp_path, screen, "topics", "list")
    shown = {line.split()[0] for line in screen.getvalue().splitlines() if line.strip()}
    assert set(packaged_topics()) <= shown


def test_produce_publishes_all_of_a_file_or_nothing(tmp_path: Path, screen: StringIO) -> None:
    """A mistake in the last line is found before the first request leaves, though none could."""
    (tmp_path / "r.jsonl").write_text(f"{json.dumps(CHAT)}\n{{bad\n")
    with pytest.raises(CommandError, match=r"line 2 is not JSON.*Nothing was published"):
        call(tmp_path, screen, "produce", "r.jsonl", "--bootstrap", NOBODY)
    (tmp_path / "r.jsonl").write_text(f'{json.dumps(CHAT)}\n{{"model": "m"}}\n')
    with pytest.raises(CommandError, match=r"line 2 is no request.*Nothing was published"):
        call(tmp_path, screen, "produce", "r.jsonl", "--bootstrap", NOBODY)


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(b'{"messages": ["\xff"]}', id="not_utf8"),
        pytest.param(b"[" * 5_000 + b"]" * 5_000, id="deep"),
    ],
)
def test_produce_names_the_line_that_no_parser_reads(
    line: bytes, tmp_path: Path, screen: StringIO
) -> None:
    """Whatever a parser stumbles over, the message says where, and nothing is published."""
    (tmp_path / "r.jsonl").write_bytes(json.dumps(CHAT).encode() + b"\n" + line)
    with pytest.raises(CommandError, match=r"line 2 is not JSON.*Nothing was published"):
        call(tmp_path, screen, "produce", "r.jsonl", "--bootstrap", NOBODY)


def test_there_is_no_priority_below_the_first(tmp_path: Path, screen: StringIO) -> None:
    """A negative one is refused; it does not count from the end."""
    (tmp_path / "r.jsonl").write_text(json.dumps(CHAT))
    result = call(tmp_path, screen, "produce", "r.jsonl", "--priority", "-1", "--bootstrap", NOBODY)
    assert result.exit_code == USAGE_ERROR


def test_tail_takes_one_beginning(tmp_path: Path, screen: StringIO) -> None:
    """Two would contradict one another."""
    with pytest.raises(CommandError, match="leave one out"):
        call(tmp_path, screen, "tail", "t", "--since", "1m", "--offset", "0")


@pytest.mark.parametrize(
    ("topic", "where", "refusal"),
    [
        ("inference-results", "zz=1", "inference-results has no field 'zz'. It has request_id, "),
        ("inference-results", "cache.zz=1", "'cache' of inference-results has no field 'zz'. It "),
        ("inference-results", "value.zz=1", "'value' of inference-results has no field 'zz'. It "),
        ("inference-results", "outcome.zz=1", "'outcome' of inference-results has no field 'zz'"),
        ("inference-results", "calls.model=m", "'calls' of inference-results has no field 'model'"),
        ("cache-misses-dlq", "zz=1", "cache-misses-dlq has no field 'zz'. It has request, "),
        ("t", "outcome", "write FIELD=TEXT"),
    ],
)
def test_tail_does_not_wait_for_a_field_that_cannot_come(
    topic: str, where: str, refusal: str, tmp_path: Path, screen: StringIO
) -> None:
    """It is refused before anything is read, with the names that there are."""
    with pytest.raises(CommandError, match=re.escape(refusal)):
        call(tmp_path, screen, "tail", topic, "--where", where, "--bootstrap", NOBODY)


@pytest.mark.parametrize(
    ("topic", "where", "document"),
    [
        ("inference-results", "outcome=FAILED", {"value": {"outcome": "failed"}}),
        ("inference-results", "cache.outcome=miss", {"value": {"cache": {"outcome": "miss"}}}),
        ("inference-results", "value.outcome=failed", {"value": {"outcome": "failed"}}),
        ("inference-results", "response.id=r", {"value": {"response": {"id": "r"}}}),
        ("result-chunks", "headers.x-cache=miss", {"value": {"headers": {"x-cache": "miss"}}}),
        ("control", "headers.x=y", {"headers": {"x": "y"}, "value": {}}),
        ("control", "partition=3", {"partition": 3, "value": {}}),
        ("control", "undecodable=oversize", {"undecodable": "oversize"}),
        ("somebody-s", "any.thing=1", {"value": {"any": {"thing": 1}}}),
    ],
)
def test_a_condition_is_met_by_what_is_meant(
    topic: str, where: str, document: dict[str, object]
) -> None:
    """By fields of the value, old ones too, of what is around it, and of any on others' topics."""
    wanted = condition(where, topic)
    assert wanted.holds(document)
    assert not wanted.holds({"value": {"outcome": "completed"}})


def test_the_stack_of_yesterday_is_not_spoken_to(tmp_path: Path, screen: StringIO) -> None:
    """The addresses that it left are another program's by now; while one runs, they hold."""
    layout = Layout(tmp_path / "data")
    layout.root.mkdir()
    left = Stack(
        state=StackState.RUNNING, pid=1, data="", partitions=1, addresses={"kafka": NOBODY}
    )
    write_json(layout.state, left)
    with pytest.raises(CommandError, match="No stack runs"):
        call(tmp_path, screen, "tail", "t", "--data", "data")
    (tmp_path / "file").touch()
    with pytest.raises(CommandError, match="No stack runs"):
        call(tmp_path, screen, "tail", "t", "--data", "file")


def test_commands_are_told_with_the_directory_that_they_need(tmp_path: Path) -> None:
    """The usual one needs no option; the message about any other can be copied as it is."""
    assert Layout(tmp_path / ".millrace").command("down") == "millrace down"
    other = Layout(tmp_path / "data")
    assert other.command("down") == f"millrace down --data {other.root}"
    with hold(other), pytest.raises(CommandError, match=f"'{other.command('down')}'"), hold(other):
        pass


@pytest.mark.parametrize("command", [("topics", "apply"), ("trace", "req_1"), ("tail", "t")])
def test_no_broker_is_one_message(
    tmp_path: Path,
    screen: StringIO,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    command: tuple[str, ...],
) -> None:
    """It says who did not answer and why; the client's own log stays off the screen."""
    monkeypatch.setattr("services.shared.stream.bulk._ANSWER_S", 0.5)
    monkeypatch.setattr("services.shared.stream.admin._APPLY_S", 0.5)
    with pytest.raises(Unavailable, match=rf"{NOBODY}.*refused"):
        call(tmp_path, screen, *command, "--bootstrap", NOBODY)
    assert capfd.readouterr().err == ""
