"""What these commands work with: a cluster, two consoles, and the time."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import msgspec
from rich.console import Console
from rich.progress import Progress as Bars
from rich.progress import TaskID

from services.cli.dlq.log import Log, Progress


class Desk(msgspec.Struct, frozen=True, kw_only=True):
    """Where dead letters are looked after.

    Attributes:
        log: The cluster.
        console: Where results go.
        errors: Where progress goes.
        now_ms: The time, unix ms.
    """

    log: Log
    console: Console
    errors: Console
    now_ms: Callable[[], float]

    @contextmanager
    def progress(self) -> Iterator[Progress]:
        """Show how far the reading of topics has come, on a terminal."""
        tasks: dict[str, TaskID] = {}
        is_off = not self.errors.is_terminal
        with Bars(console=self.errors, transient=True, disable=is_off) as bars:

            def on_progress(topic: str, count: int, total: int) -> None:
                if topic not in tasks:
                    tasks[topic] = bars.add_task(topic, total=total or None)
                bars.advance(tasks[topic], count)

            yield on_progress
