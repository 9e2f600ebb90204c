"""Where finished spans go."""

from collections.abc import Iterable
from typing import Protocol

from services.shared.domain.spans import Span


class SpanSink(Protocol):
    """Takes spans; never makes anybody wait: what does not fit is dropped and counted."""

    def put(self, spans: Iterable[Span]) -> None:
        """Take finished spans."""
        ...
