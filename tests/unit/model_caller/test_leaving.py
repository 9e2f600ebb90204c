"""Callers who gave up are told once, and all of them are waited for."""

import asyncio

import pytest

from services.model_caller.leaving import Leaving
from services.shared.domain.errors import MustStop


async def test_each_is_told_once() -> None:
    """Whoever leaves while others are told is waited for as well."""
    told: list[int] = []

    async def tell(i: int) -> bool:
        await asyncio.sleep(0)
        told.append(i)
        if i == 1:
            leaving.leave(2)
        return True

    leaving = Leaving(tell)
    assert await leaving.told() == frozenset()
    leaving.leave(1)
    leaving.leave(1)
    assert await leaving.told() == {1, 2}
    assert told == [1, 2]


async def test_who_cannot_be_told_stops_the_process() -> None:
    """What the log did not confirm is not passed over."""

    async def tell(_i: int) -> bool:
        raise MustStop("not acknowledged")

    leaving = Leaving(tell)
    leaving.leave(0)
    with pytest.raises(MustStop):
        await leaving.told()


async def test_who_has_his_answer_does_not_leave() -> None:
    """He is told nothing, and is none of those who left."""

    async def tell(i: int) -> bool:
        return i == 1

    leaving = Leaving(tell)
    leaving.leave(0)
    leaving.leave(1)
    assert await leaving.told() == {1}


async def test_nobody_leaves_once_the_ends_are_about_to_be_written() -> None:
    """What comes later changes nothing, and nobody is told."""
    told: list[int] = []

    async def tell(i: int) -> bool:
        told.append(i)
        return True

    leaving = Leaving(tell)
    leaving.leave(0)
    assert await leaving.settled() == {0}
    leaving.leave(1)
    assert await leaving.told() == {0}
    assert told == [0]
