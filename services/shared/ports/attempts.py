"""Reading what topics know of calls that were made before."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from services.shared.domain.events import ModelCallAttempt, ResultChunk

Place = tuple[int, int]
"""Partition and offset of a record in ``model-call-attempts``."""


class AttemptLog(Protocol):
    """The topic ``model-call-attempts``. What is read of it goes to whoever listens."""

    async def reach(self, accepted_ms: Mapping[int, float]) -> None:
        """Know all calls that were ever made for requests accepted at a time or later.

        Args:
            accepted_ms: When the oldest request was accepted, unix ms, by partition.

        Raises:
            Unavailable: The log does not answer. Retriable.
        """
        ...

    async def catch_up(self, partitions: Iterable[int]) -> None:
        """Read partitions from where they were last read to their ends.

        Raises:
            Unavailable: The log does not answer. Retriable.
        """
        ...

    async def read(self, places: Iterable[Place]) -> Mapping[Place, ModelCallAttempt]:
        """Read single records; those that are gone are missing from the answer.

        Raises:
            Unavailable: The log does not answer. Retriable.
        """
        ...


class ChunkHistory(Protocol):
    """The topic ``result-chunks``."""

    async def chunks_of(
        self, requests: Mapping[str, int], *, since_ms: float
    ) -> Mapping[str, Sequence[ResultChunk]]:
        """All chunks of requests, in log order; a request without any may be missing.

        Args:
            requests: Reply partitions by request id.
            since_ms: Broker's time before which none of them has one, unix ms.

        Raises:
            Unavailable: The log does not answer. Retriable.
        """
        ...
