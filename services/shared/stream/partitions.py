"""The partitions of one consumer: what is open, what may be committed, what is paused."""

import logging
from collections.abc import Mapping

from services.shared.stream.client import Consumer, TopicPartition
from services.shared.stream.crash_points import crash_point
from services.shared.stream.tracker import OffsetTracker

_LOG = logging.getLogger(__name__)
MAX_DISTANCE = 200_000
"""A partition whose lowest open offset lies this far behind what was delivered is paused."""


class Partitions:
    """Trackers, pauses and commits.

    Attributes:
        is_held: All of them are paused until told otherwise.
        not_due: Those whose next record is not due yet; they are paused.
    """

    def __init__(self, consumer: Consumer) -> None:
        """Start with none."""
        self.is_held = False
        self.not_due: frozenset[TopicPartition] = frozenset()
        self._consumer = consumer
        self._trackers: dict[TopicPartition, OffsetTracker] = {}
        self._far: set[TopicPartition] = set()
        self._unprepared: frozenset[TopicPartition] = frozenset()

    def tracker(self, partition: TopicPartition) -> OffsetTracker:
        """The tracker of a partition that is or was owned."""
        return self._trackers[partition]

    def resume_at(
        self, positions: Mapping[TopicPartition, int], *, is_prepared: bool = True
    ) -> None:
        """Go on in these partitions; the consumer forgot all pauses.

        Those that are not prepared hand out nothing before ``prepared`` is called.
        """
        self._unprepared = frozenset() if is_prepared else frozenset(positions)
        for partition, position in positions.items():
            tracker = self._trackers.get(partition)
            if tracker is None:
                self._trackers[partition] = OffsetTracker(position)
            else:
                tracker.resume_at(position)
        self._far = {where for where in positions if self._is_far(where)}
        self.apply_pauses()

    def prepared(self) -> None:
        """Let all partitions hand out records."""
        self._unprepared = frozenset()
        self.apply_pauses()

    def reset(self, partition: TopicPartition, position: int) -> None:
        """Go on somewhere else: what was known of the partition's offsets is void."""
        self._trackers[partition] = OffsetTracker(position)
        self._far.discard(partition)
        self.apply_pauses()

    def apply_pauses(self) -> None:
        """Pause what must be paused and nothing else."""
        owned = self._consumer.assignment()
        if not owned:
            return
        held_back = self._far | self._unprepared | self.not_due
        paused = owned if self.is_held else owned & held_back
        self._consumer.pause(paused)
        self._consumer.resume(owned - paused)

    def review(self) -> None:
        """Pause a partition that went too far ahead of its lowest open record, and undo that."""
        owned = self._consumer.assignment()  # may name one that nobody has told us of yet
        far = {where for where in owned & self._trackers.keys() if self._is_far(where)}
        if far != self._far:
            for where in far - self._far:
                _LOG.warning(
                    "a record holds back the commits of its partition",
                    extra={"topic": where.topic, "partition": where.partition},
                )
            self._far = far
            self.apply_pauses()

    async def commit(self) -> None:
        """Commit what is contiguous in the partitions that are owned.

        Raises:
            Unavailable: No broker answers, or the group is rebalancing. Retriable.
        """
        owned = self._consumer.assignment()
        offsets = {
            partition: offset
            for partition, tracker in self._trackers.items()
            if partition in owned and (offset := tracker.committable()) is not None
        }
        if offsets:
            trackers = {partition: self._trackers[partition] for partition in offsets}
            crash_point("before_commit")
            await self._consumer.commit(offsets)
            for partition, offset in offsets.items():
                trackers[partition].committed(offset)

    def _is_far(self, partition: TopicPartition) -> bool:
        return self._trackers[partition].distance > MAX_DISTANCE
