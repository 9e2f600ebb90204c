"""What a processor hands to the runtime."""

import msgspec

from services.shared.domain.events import Event, InferenceRequested
from services.shared.domain.topics import Topic


class Delay(msgspec.Struct, frozen=True, kw_only=True):
    """A record that is put off: it is the same work again, later, and no step of its journey.

    Attributes:
        due_ms: When it may be taken into work, unix ms.
        turns: How often it has been put off.
        attempts: Number of calls that were made for it; whoever made the last is done with it.
    """

    due_ms: int
    turns: int
    attempts: int = 0


class Emit(msgspec.Struct, frozen=True, kw_only=True):
    """One record to be produced.

    Attributes:
        topic: Where to.
        key: Record key.
        event: The record.
        request: The request it belongs to, from which the headers follow; None = of no single one.
        partition: Explicit partition; None = that of the record it came from, where both topics
            hold the same request on the same partition, else by key.
        value: The record, encoded already; empty = not yet.
        delay: When it may be taken; None = at once.
    """

    topic: Topic
    key: str
    event: Event
    request: InferenceRequested | None = None
    partition: int | None = None
    value: bytes = b""
    delay: Delay | None = None
