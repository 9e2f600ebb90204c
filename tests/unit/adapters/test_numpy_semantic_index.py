"""The index in memory beyond what every index does: growth, long scopes, what is let go."""

import asyncio

import msgspec
import pytest

from services.shared.adapters import numpy_semantic_index
from services.shared.adapters.numpy_semantic_index import NumpySemanticIndex
from tests.support.fake_clock import START_MS
from tests.support.semantic_entries import direction, entry_of, key_of

_COUNT = 300


async def ids(index: NumpySemanticIndex, number: int, *, now_ms: float = START_MS) -> list[str]:
    """The best three for a question."""
    (nears,) = await index.nearest([key_of(direction(number))], most=3, now_ms=now_ms)
    return [near.entry.entry_id for near in nears]


@pytest.mark.parametrize("inline_rows", [0, 1_000_000])
async def test_a_grown_scope_finds_what_a_full_comparison_finds(
    monkeypatch: pytest.MonkeyPatch, inline_rows: int
) -> None:
    """After doublings and removals, in a thread or not."""
    monkeypatch.setattr(numpy_semantic_index, "_INLINE_ROWS", inline_rows)
    index = NumpySemanticIndex(max_entries=_COUNT)
    await index.put([entry_of(it) for it in range(_COUNT)])
    await index.remove([entry_of(it).entry_id for it in range(0, _COUNT, 3)])
    left = [it for it in range(_COUNT) if it % 3]
    assert len(index) == len(left)
    for asked in (1, 3, 299):
        best = sorted(left, key=lambda it: -float(direction(it) @ direction(asked)))[:3]
        assert await ids(index, asked) == [entry_of(it).entry_id for it in best]


async def test_what_changes_while_a_thread_compares_is_told_as_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A row that another entry has taken meanwhile is named with that one's own similarity."""
    monkeypatch.setattr(numpy_semantic_index, "_INLINE_ROWS", 0)
    index = NumpySemanticIndex(max_entries=_COUNT)
    await index.put([entry_of(it) for it in range(3)])
    asking = asyncio.ensure_future(index.nearest([key_of(direction(0))], most=3, now_ms=START_MS))
    await asyncio.sleep(0)  # it waits for its thread
    await index.remove([entry_of(0).entry_id])
    (nears,) = await asking
    assert {near.entry.entry_id for near in nears} == {entry_of(1).entry_id, entry_of(2).entry_id}
    for near in nears:
        number = int(near.entry.entry_id[-1])
        exact = float(direction(number) @ direction(0))
        assert near.similarity == pytest.approx(exact, abs=2e-3)


async def test_all_scopes_together_have_a_largest_number() -> None:
    """The oldest of all goes, whatever its scope."""
    index = NumpySemanticIndex(max_entries=_COUNT, most_entries=2)
    for number in range(3):
        await index.put([entry_of(number, scope=f"scope-{number}")])
    assert len(index) == 2
    found = await index.nearest(
        [key_of(direction(it), scope=f"scope-{it}") for it in range(3)], most=1, now_ms=START_MS
    )
    assert [len(nears) for nears in found] == [0, 1, 1]


async def test_what_has_expired_is_let_go_after_a_while() -> None:
    """Even where nobody asks in its scope any more."""
    index = NumpySemanticIndex(max_entries=_COUNT)
    assert await ids(index, 9) == []
    await index.put([entry_of(1, expires_at=int(START_MS) + 5), entry_of(2, scope="scope-b")])
    assert await ids(index, 9, now_ms=START_MS + 10) == []
    assert len(index) == 2
    assert await ids(index, 9, now_ms=START_MS + 60_001) == []
    assert len(index) == 1


@pytest.mark.parametrize("vector", [b"", b"odd"])
async def test_what_is_no_vector_is_passed_over(vector: bytes) -> None:
    """A spoilt record does not end the process."""
    index = NumpySemanticIndex(max_entries=_COUNT)
    key = msgspec.structs.replace(key_of(direction(1)), vector=vector)
    await index.put([entry_of(1, semantic=key)])
    assert len(index) == 0


async def test_a_scope_of_one_entry_goes_on() -> None:
    """The new entry takes the place of the old one."""
    index = NumpySemanticIndex(max_entries=1)
    for number in (1, 2, 2, 3):
        await index.put([entry_of(number)])
    assert await ids(index, 3) == [entry_of(3).entry_id]
