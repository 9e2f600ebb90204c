"""What of a consumer's partitions is paused."""

from collections.abc import Collection
from typing import cast

from services.shared.stream.client import Consumer, TopicPartition
from services.shared.stream.partitions import MAX_DISTANCE, Partitions

KNOWN = TopicPartition("cache-misses", 0)
COMING = TopicPartition("cache-misses", 1)


class _Member:
    """A consumer that owns two partitions and remembers what it paused."""

    def __init__(self) -> None:
        self.paused: frozenset[TopicPartition] = frozenset()

    def assignment(self) -> frozenset[TopicPartition]:
        return frozenset({KNOWN, COMING})

    def pause(self, partitions: Collection[TopicPartition]) -> None:
        self.paused |= frozenset(partitions)

    def resume(self, partitions: Collection[TopicPartition]) -> None:
        self.paused -= frozenset(partitions)


def test_a_partition_that_nobody_has_told_us_of_is_no_harm() -> None:
    """The client has its new partitions a moment before it says so; the known ones are reviewed."""
    member = _Member()
    partitions = Partitions(cast("Consumer", member))
    partitions.resume_at({KNOWN: 0})
    partitions.review()
    assert member.paused == frozenset()
    tracker = partitions.tracker(KNOWN)
    for offset in (0, MAX_DISTANCE + 1):
        tracker.open(offset)
    partitions.review()
    assert member.paused == {KNOWN}
