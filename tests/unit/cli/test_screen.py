"""What a person sees of the running stack."""

from io import StringIO

from rich.console import Console

from services.cli.local_stack.logs import LogLine
from services.cli.local_stack.meter import Row
from services.cli.local_stack.screen import Screen
from services.cli.local_stack.state import ProcessState
from services.cli.progress import transfer

QUIET = LogLine(process="router", text="listening", is_quiet=True)
LOUD = LogLine(process="cache-writer", text="[slow] :smile:", is_quiet=False)


def test_each_line_begins_with_its_process() -> None:
    """Without a table every line is shown, aligned, and nothing in it is taken for markup."""
    shown = StringIO()
    console = Console(file=shown, width=40)
    with Screen(console, names=["router", "cache-writer"], with_table=False) as screen:
        screen.log(QUIET)
        screen.log(LOUD)
        screen.event("one\ntwo")
    assert shown.getvalue().splitlines() == [
        "router       | listening",
        "cache-writer | [slow] :smile:",
        "millrace     | one",
        "millrace     | two",
    ]


def test_above_a_table_only_what_matters_is_shown() -> None:
    """The table says that all is well; lines say what is not."""
    shown = StringIO()
    console = Console(file=shown, width=80, force_terminal=True, color_system=None)
    with Screen(console, names=["router", "cache-writer"], with_table=True) as screen:
        screen.log(QUIET)
        screen.log(LOUD)
        row = Row(
            name="router",
            state=ProcessState.RUNNING,
            is_ready=True,
            pid=7,
            restarts=0,
            in_flight_records=1_234.0,
            lag_records=0.0,
        )
        screen.table([row])
    text = shown.getvalue()
    assert "listening" not in text
    assert "[slow] :smile:" in text
    line = next(line for line in text.splitlines() if line.startswith("router"))
    assert line.split() == ["router", "running", "7", "1,234", "0", "-"]


def test_a_transfer_shows_how_far_it_is_without_a_terminal() -> None:
    """A log gets a line for each quarter, also when a part is fetched twice."""
    shown = StringIO()
    console = Console(file=shown, width=80)
    with transfer(console, "Fetching", total_bytes=2_000_000) as on_bytes:
        for count in (400_000, 200_000, -600_000, 600_000, 1_400_000):
            on_bytes(count)
    assert shown.getvalue().splitlines() == [
        "Fetching: 2 MB",
        "Fetching: 30%",
        "Fetching: 100%",
    ]
