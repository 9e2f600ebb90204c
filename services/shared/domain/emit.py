"""What a processor hands to the runtime."""

import msgspec

from services.shared.domain.events import Event
from services.shared.domain.topics import Topic


class Emit(msgspec.Struct, frozen=True, kw_only=True):
    """One record to be produced.

    Attributes:
        topic: Where to.
        key: Record key.
        event: The record.
        partition: Explicit partition; None = that of the record it came from, where both topics
            hold the same request on the same partition, else by key.
    """

    topic: Topic
    key: str
    event: Event
    partition: int | None = None
