"""The commands up, down, status and doctor, as far as nothing has to run for it."""

import json
from collections.abc import Mapping
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from services.cli.__main__ import app
from services.cli.errors import CommandError
from services.cli.invocation import Invocation
from services.cli.local_stack.lock import hold
from services.cli.local_stack.state import (
    Layout,
    ProcessRecord,
    ProcessState,
    Stack,
    StackState,
    write_json,
)


class Terminal:
    """Calls commands from a folder, and keeps what they print."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._shown = StringIO()

    def call(self, *arguments: str, environ: Mapping[str, str] | None = None) -> Result:
        """Run a command; its errors are raised."""
        console = Console(file=self._shown, width=200)
        invocation = Invocation(
            environ=environ or {}, folder=self.folder, console=console, errors=console
        )
        result = CliRunner().invoke(app, arguments, obj=invocation)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    @property
    def shown(self) -> str:
        """What was printed on the console."""
        return self._shown.getvalue()


@pytest.fixture
def terminal(tmp_path: Path) -> Terminal:
    """A terminal in an empty folder."""
    return Terminal(tmp_path)


def a_stack(data: Path) -> Stack:
    """A stack whose service cannot be asked, so it is not ready."""
    return Stack(
        state=StackState.RUNNING,
        pid=1,
        data=str(data),
        partitions=2,
        addresses={"kafka": "127.0.0.1:9092", "openai": "http://127.0.0.1:8080/v1"},
        processes=[
            ProcessRecord(name="kafka", pid=2, state=ProcessState.RUNNING),
            ProcessRecord(
                name="router",
                pid=3,
                state=ProcessState.RUNNING,
                restarts=4,
                probes="http://127.0.0.1:1",
            ),
        ],
    )


def test_help_names_every_command() -> None:
    """A newcomer finds them without a page."""
    shown = CliRunner().invoke(app, ["--help"]).output
    assert all(name in shown for name in ("up", "down", "status", "doctor", "config"))


def test_status_of_nothing_says_so(terminal: Terminal) -> None:
    """Exit code 3, for people and for programs; nothing is made by looking."""
    assert terminal.call("status").exit_code == 3
    assert terminal.shown == f"No stack runs on {terminal.folder / '.millrace'}.\n"
    result = terminal.call("status", "--json", "--data", "there")
    assert result.exit_code == 3
    assert json.loads(result.output) == {
        "state": "stopped",
        "data": str(terminal.folder / "there"),
        "processes": [],
        "addresses": {},
    }
    assert not list(terminal.folder.iterdir())


def test_status_names_every_process_and_address(terminal: Terminal) -> None:
    """A service that does not answer its probes is not ready, whatever the supervisor thinks."""
    layout = Layout(terminal.folder / ".millrace")
    with hold(layout):
        write_json(layout.state, a_stack(layout.root))
        result = terminal.call("status", "--json")
        assert terminal.call("status").exit_code == 1
    assert result.exit_code == 1
    document = json.loads(result.output)
    assert (document["state"], document["is_ready"], document["partitions"]) == (
        "running",
        False,
        2,
    )
    assert [(p["name"], p["pid"], p["state"]) for p in document["processes"]] == [
        ("kafka", 2, "running"),
        ("router", 3, "running"),
    ]
    assert document["addresses"]["metrics"] == {"router": "http://127.0.0.1:1/metrics"}
    rows = [line.split() for line in terminal.shown.splitlines()]
    assert ["router", "not", "ready", "3", "-", "-", "-", "4"] in rows
    assert ["openai", "http://127.0.0.1:8080/v1"] in rows


def test_the_state_of_a_killed_stack_is_not_believed(terminal: Terminal) -> None:
    """Nobody holds the directory, so nothing runs."""
    layout = Layout(terminal.folder / ".millrace")
    layout.root.mkdir()
    write_json(layout.state, a_stack(layout.root))
    assert terminal.call("status").exit_code == 3


def test_down_of_nothing_is_no_error(terminal: Terminal) -> None:
    """A script may call it twice."""
    assert terminal.call("down").exit_code == 0
    assert terminal.shown == f"No stack runs on {terminal.folder / '.millrace'}.\n"


def test_up_refuses_a_directory_in_use_before_anything_else(terminal: Terminal) -> None:
    """Attached or detached, nothing is fetched or started first."""
    with hold(Layout(terminal.folder / "data")):
        for more in ((), ("--detach",)):
            with pytest.raises(CommandError, match="already running"):
                terminal.call("up", "--data", "data", *more)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("--scale", "router"), "write SERVICE=N"),
        (("--scale", "rooter=2"), "no service 'rooter'"),
        (("--partitions", "0"), "choose 1 to 64"),
        (("--data", "/dev/null"), "/dev/null cannot be used: .* Choose another with '--data'"),
        (("--data", "/dev/null", "--detach"), "/dev/null cannot be used: .* Choose another"),
    ],
)
def test_up_refuses_what_cannot_be(
    terminal: Terminal, arguments: tuple[str, ...], why: str
) -> None:
    """The message names the option's mistake."""
    with pytest.raises(CommandError, match=why):
        terminal.call("up", *arguments)


def test_doctor_finds_what_is_wrong_and_says_what_to_do(terminal: Terminal) -> None:
    """Exit code 1; each finding names its remedy."""
    data = terminal.folder / ".millrace"
    data.mkdir()
    (data / "secret").write_bytes(b"0" * 32)
    (data / "secret").chmod(0o644)
    (terminal.folder / "millrace.yaml").write_text("modells: {}\n")
    cache = {"XDG_CACHE_HOME": str(terminal.folder / "cache")}

    assert terminal.call("doctor", environ=cache).exit_code == 1

    shown = terminal.shown
    assert f"bad  Data directory others may read {data / 'secret'}" in shown
    assert f"-> chmod 600 {data / 'secret'}" in shown
    assert "millrace.yaml:1: modells" in shown
    assert "note Kafka          46 of 46 files are not in" in shown
    assert "2 of " in shown
    assert "checks failed" in shown


def test_doctor_names_the_processes_that_are_not_well(terminal: Terminal) -> None:
    """It points at the log of each."""
    layout = Layout(terminal.folder / ".millrace")
    with hold(layout):
        write_json(layout.state, a_stack(layout.root))
        assert terminal.call("doctor").exit_code == 1
    assert "bad  router         not ready, started again 4 times" in terminal.shown
    assert f"-> See {layout.logs / 'router.log'}." in terminal.shown
    assert "bad  kafka" not in terminal.shown
