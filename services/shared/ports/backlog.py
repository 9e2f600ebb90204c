"""How far a consumer group is behind, as a capability."""

from typing import Protocol


class Backlog(Protocol):
    """Looks at consumer groups of other stages."""

    async def records(self) -> int:
        """Records that the watched groups have not committed yet, all topics together.

        Raises:
            Unavailable: The log does not answer. Retriable.
        """
        ...
