"""Look-ups that are made together: what is asked for during one is the next."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Gathered(Generic[K, V]):
    """Turns look-ups of one into look-ups of many."""

    def __init__(self, look_up: Callable[[Sequence[K]], Awaitable[Mapping[K, V]]]) -> None:
        """Look up with this; whatever it raises, everybody who asked gets."""
        self._look_up = look_up
        self._wanted: list[K] = []
        self._next: asyncio.Future[Mapping[K, V]] | None = None
        self._turn = asyncio.Lock()

    async def get(self, key: K) -> V | None:
        """Look one up; None = there is none."""
        self._wanted.append(key)
        if self._next is None:
            self._next = asyncio.ensure_future(self._run())
        return (await asyncio.shield(self._next)).get(key)

    async def _run(self) -> Mapping[K, V]:
        async with self._turn:
            wanted, self._wanted, self._next = self._wanted, [], None
            return await self._look_up(wanted)
