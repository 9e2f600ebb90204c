"""What a processor hands to the runtime."""

import msgspec

from services.shared.domain.events import Event, InferenceRequested
from services.shared.domain.topics import Topic


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
    """

    topic: Topic
    key: str
    event: Event
    request: InferenceRequested | None = None
    partition: int | None = None
    value: bytes = b""
