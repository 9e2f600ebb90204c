"""Callers who give their requests up while others wait for the answers: they are told at once."""

import asyncio
from collections.abc import Awaitable, Callable

from services.model_caller.together import run_all


class Leaving:
    """The members of a serving whose callers were told that they are cancelled.

    Their calls go on, for the requests that joined them. Whoever is about to write the ends of the
    members calls ``settled`` first: from then on nobody leaves any more, so that what a caller is
    told and what stands in the terminal record are the same.
    """

    def __init__(self, tell: Callable[[int], Awaitable[bool]]) -> None:
        """Nobody has left.

        Args:
            tell: Tells the caller of a member, and returns once that is durable; False when he has
                his whole answer already.
        """
        self._tell = tell
        self._told: dict[int, asyncio.Future[bool]] = {}
        self._is_settled = False

    def leave(self, i: int) -> None:
        """A member's caller has given up; to hear it once more says nothing new."""
        if i not in self._told and not self._is_settled:
            self._told[i] = asyncio.ensure_future(self._tell(i))

    async def told(self) -> frozenset[int]:
        """The members whose callers have left, once all of those know.

        Raises:
            MustStop: Nobody knows whether they do; the process is ending. Not retriable.
        """
        waited_for = -1
        while waited_for < len(self._told):
            waited_for = len(self._told)
            await run_all(_awaited(one) for one in self._told.values())
        return frozenset(i for i, one in self._told.items() if one.result())

    async def settled(self) -> frozenset[int]:
        """The members whose callers have left; nobody else will.

        Raises:
            MustStop: See ``told``.
        """
        left = await self.told()
        self._is_settled = True  # with nothing awaited in between
        return left


async def _awaited(told: "asyncio.Future[bool]") -> None:
    await told
