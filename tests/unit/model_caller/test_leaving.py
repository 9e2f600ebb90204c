"""Callers who gave up are told once, and all of them are waited for."""

import asyncio

import pytest

from services.model_caller.leaving import Leaving
from services.shared.domain.errors import MustStop


async def test_each_is_told_once() -> None:
    """Whoever leaves while others are told is waited for as well."""
    told: list[int] = []

    async def tell(i: int) -> None:
        await asyncio.sleep(0)
        told.append(i)
        if i == 1:
            leaving.leave(2)

    leaving = Leaving(tell)
    assert await leaving.told() == frozenset()
    leaving.leave(1)
    leaving.leave(1)
    assert (1 in leaving, 2 in leaving) == (True, False)
    assert await leaving.told() == {1, 2}
    assert told == [1, 2]


async def test_who_cannot_be_told_stops_the_process() -> None:
    """What the log did not confirm is not passed over."""

    async def tell(_i: int) -> None:
        raise MustStop("not acknowledged")

    leaving = Leaving(tell)
    leaving.leave(0)
    with pytest.raises(MustStop):
        await leaving.told()
