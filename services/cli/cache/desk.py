"""What these commands work with: a cluster, the bodies of answers, two consoles, and the time."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import msgspec
from rich.console import Console

from services.shared.ports.response_cache import ResponseCache
from services.shared.stream.entry_bulk import Held


class Log(Protocol):
    """The topic ``cache-entries``; ``services.shared.stream.entry_bulk`` is Kafka's."""

    def held(self) -> dict[str, Held]:
        """All entries that were not purged, by id.

        Raises:
            Unavailable: No broker answers. Retriable.
        """
        ...

    def bury(self, purged: Sequence[Held]) -> None:
        """Write tombstones.

        Raises:
            Unavailable: Not all were written.
        """
        ...


class Desk(msgspec.Struct, frozen=True, kw_only=True):
    """Where the cache is looked after.

    Attributes:
        log: The entries.
        bodies: Connects to the exact cache, which holds the answers.
        console: Where results go.
        errors: Where notices go.
        now_ms: The time, unix ms.
    """

    log: Log
    bodies: Callable[[], AbstractAsyncContextManager[ResponseCache]]
    console: Console
    errors: Console
    now_ms: Callable[[], float]


Bodies = Mapping[str, str]
"""Whose answer is kept under each fingerprint: a request id; empty = it cannot be read."""
