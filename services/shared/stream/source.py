"""What a consumer loop reads."""

import msgspec

from services.shared.domain.events import Event


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """What a loop reads.

    Attributes:
        topic: The topic.
        event_type: Its record.
        group: Consumer group.
        lane: Lane in the slot pool, 0 = most urgent.
        is_public: Others may write it: headers are optional and poison never stops us.
        dlq: Dead-letter topic.
        pause_s: Rest after each poll that brought records, so that the next one brings more;
            seconds. Most of a stage's cost is per poll.
        is_delayed: Its records say when they are due (``millrace-due``) and are not taken before.
    """

    topic: str
    event_type: type[Event]
    group: str
    lane: int
    is_public: bool
    dlq: str
    pause_s: float = 0.0
    is_delayed: bool = False
