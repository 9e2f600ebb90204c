"""Shows how far a long transfer has come: a bar on a terminal, plain lines elsewhere."""

import contextlib
import threading
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

_LINE_EVERY_RATIO = 0.25


@contextlib.contextmanager
def transfer(console: Console, what: str, *, total_bytes: int) -> Iterator[Callable[[int], None]]:
    """Show a transfer for the length of a ``with`` block.

    Yields:
        A function that is told how many bytes came since it was last called, from any thread;
        fewer than none came when a part is fetched again.
    """
    shown = _bar if console.is_terminal else _lines
    with shown(console, what, total_bytes) as on_bytes:
        yield on_bytes


@contextlib.contextmanager
def _bar(console: Console, what: str, total_bytes: int) -> Iterator[Callable[[int], None]]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(what, total=total_bytes)
        yield lambda count: progress.advance(task, count)


@contextlib.contextmanager
def _lines(console: Console, what: str, total_bytes: int) -> Iterator[Callable[[int], None]]:
    console.print(f"{what}: {total_bytes / 1e6:.0f} MB")
    lock = threading.Lock()
    came_bytes = 0
    next_line_ratio = _LINE_EVERY_RATIO

    def on_bytes(count: int) -> None:
        nonlocal came_bytes, next_line_ratio
        with lock:
            came_bytes += count
            if came_bytes >= next_line_ratio * total_bytes:
                console.print(f"{what}: {came_bytes / total_bytes:.0%}")
                next_line_ratio += _LINE_EVERY_RATIO

    yield on_bytes
