"""The disk that holds the data, as a capability."""

from typing import Protocol


class Disk(Protocol):
    """Looks at one disk."""

    async def used_ratio(self) -> float:
        """Its used share, 0 to 1, of what may be used at all.

        Raises:
            Unavailable: It cannot be looked at. Retriable.
        """
        ...
