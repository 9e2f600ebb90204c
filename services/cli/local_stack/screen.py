"""What a person sees of the running stack: events, log lines, and a table that stays below them."""

import errno
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from services.cli.local_stack.logs import LogLine
from services.cli.local_stack.meter import Row
from services.cli.local_stack.state import ProcessState

_COLOURS = (
    "cyan",
    "magenta",
    "green",
    "yellow",
    "blue",
    "bright_red",
    "bright_cyan",
    "bright_blue",
)
_STATE_STYLES = {
    ProcessState.RUNNING: "green",
    ProcessState.RESTARTING: "bold red",
    ProcessState.STARTING: "yellow",
    ProcessState.STOPPING: "yellow",
}
_SUPERVISOR = "millrace"
_NO_ROOM = frozenset((errno.ENOSPC, errno.EDQUOT))


class Screen:
    """A terminal with a live table, or plain lines where there is none."""

    def __init__(self, console: Console, *, names: Sequence[str], with_table: bool) -> None:
        """Show nothing yet.

        Args:
            console: Where to.
            names: Of the processes, for colours and alignment.
            with_table: Whether to keep a table; quiet log lines are left out then.
        """
        self._console = console
        self._with_table = with_table
        self._width = max(len(name) for name in (_SUPERVISOR, *names))
        self._styles = {name: _COLOURS[i % len(_COLOURS)] for i, name in enumerate(names)}
        self._live: Live | None = None
        self._is_aside = False

    def __enter__(self) -> "Screen":
        """Begin."""
        if self._with_table:
            self._live = Live(console=self._console, auto_refresh=False, redirect_stdout=False)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the table as it is."""
        if self._live is not None:
            self._live.stop()

    @contextmanager
    def aside(self) -> Iterator[Console]:
        """Leave the terminal to something else; log lines are only in their files meanwhile."""
        self._is_aside = True
        if self._live is not None:
            self._live.stop()
        try:
            yield self._console
        finally:
            self._is_aside = False
            if self._live is not None:
                self._live.start()

    def event(self, text: str) -> None:
        """Say what happened to the stack."""
        for line in text.splitlines():
            self._print(_SUPERVISOR, "bold", line)

    def log(self, line: LogLine) -> None:
        """Show a line of a process."""
        if not (self._is_aside or (self._with_table and line.is_quiet)):
            self._print(line.process, self._styles.get(line.process, ""), line.text)

    def table(self, rows: Sequence[Row]) -> None:
        """Show how the processes are now."""
        if self._live is not None and not self._is_aside:
            with _on_a_full_disk_too():
                self._live.update(status_table(rows), refresh=True)

    def _print(self, name: str, style: str, text: str) -> None:
        prefix = Text(f"{name:<{self._width}} | ", style=style)
        with _on_a_full_disk_too():
            self._console.print(prefix + Text(text), soft_wrap=True)


@contextmanager
def _on_a_full_disk_too() -> Iterator[None]:
    """Go on where what is shown goes to a file on a full disk: whoever speaks keeps things running.

    The text stays in the stream's buffer, and is written with the next one that finds room.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise


def status_table(rows: Sequence[Row]) -> Table:
    """A table of the processes."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("service", "state"):
        table.add_column(heading, no_wrap=True)
    for heading in ("pid", "in flight", "lag", "req/s", "restarts"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        not_ready = row.state is ProcessState.RUNNING and row.is_ready is False
        state = "not ready" if not_ready else row.state.value
        style = "bold red" if not_ready else _STATE_STYLES.get(row.state, "")
        table.add_row(
            row.name,
            Text(state, style=style),
            str(row.pid or "-"),
            _number(row.in_flight_records),
            _number(row.lag_records),
            _number(row.records_per_s),
            str(row.restarts or ""),
        )
    return table


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"
