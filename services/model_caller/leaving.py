"""Callers who give their requests up while others wait for the answers: they are told at once."""

import asyncio
from collections.abc import Awaitable, Callable

from services.model_caller.together import run_all


class Leaving:
    """The members of a serving whose callers were told that they are cancelled.

    Their calls go on, for the requests that joined them.
    """

    def __init__(self, tell: Callable[[int], Awaitable[None]]) -> None:
        """Nobody has left.

        Args:
            tell: Tells the caller of a member, and returns once that is durable.
        """
        self._tell = tell
        self._told: dict[int, asyncio.Future[None]] = {}

    def leave(self, i: int) -> None:
        """A member's caller has given up; to hear it once more says nothing new."""
        if i not in self._told:
            self._told[i] = asyncio.ensure_future(self._tell(i))

    def __contains__(self, i: int) -> bool:
        """Whether a member's caller has left."""
        return i in self._told

    async def told(self) -> frozenset[int]:
        """The members whose callers have left, once all of those know.

        Raises:
            MustStop: Nobody knows whether they do; the process is ending. Not retriable.
        """
        waited_for = -1
        while waited_for < len(self._told):
            waited_for = len(self._told)
            await run_all(_awaited(one) for one in self._told.values())
        return frozenset(self._told)


async def _awaited(told: "asyncio.Future[None]") -> None:
    await told
