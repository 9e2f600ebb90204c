"""What a processor may want to know of the partitions that its process gets and loses."""

from collections.abc import Mapping
from typing import Protocol

from services.shared.stream.client import TopicPartition


class AssignmentWatcher(Protocol):
    """Is told of assignments; each of them is prepared before a record of it is taken."""

    async def assigned(self, positions: Mapping[TopicPartition, int]) -> None:
        """Prepare for partitions of one topic, which go on at these offsets.

        It runs beside the group's heartbeats, so it may take its time.

        Raises:
            Unavailable: A port is away; it is called again. Retriable.
        """
        ...

    async def revoked(self, partitions: frozenset[TopicPartition]) -> None:
        """These partitions go to others as soon as this returns: in much less than a session."""
        ...

    async def at_rest(self) -> None:
        """Return once nothing is under way that only this process can end.

        It is asked at shutdown, when all partitions have gone: what is open besides, others do.
        """
        ...
