"""Finding what the topics know of one request."""

from typing import Protocol

from services.shared.domain.events import CacheMissed, InferenceFinished


class RecordFinder(Protocol):
    """Looks records up by request id, by the time that stands in it."""

    async def find_terminal(self, request_id: str) -> InferenceFinished | None:
        """The first terminal record of a request; None = it has none yet.

        Raises:
            Unavailable: The log does not answer. Retriable.
        """
        ...

    async def find_miss(self, request_id: str) -> CacheMissed | None:
        """What the cache passed on of a request; None = it has not, or not yet.

        Raises:
            Unavailable: The log does not answer. Retriable.
        """
        ...
