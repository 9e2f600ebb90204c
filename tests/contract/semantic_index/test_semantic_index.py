"""What every semantic index does."""

from collections.abc import Sequence

import pytest

from services.shared.domain.events import AnswerCached, SemanticKey
from services.shared.ports.semantic_index import Near, SemanticIndex
from tests.contract.semantic_index.conftest import MAX_ENTRIES
from tests.support.fake_clock import START_MS
from tests.support.semantic_entries import direction, entry_of, key_of, tilted

NOW_MS = START_MS


async def nearest(
    index: SemanticIndex, key: SemanticKey, *, most: int = 5, now_ms: float = NOW_MS
) -> Sequence[Near]:
    """The entries that are closest to one question."""
    (nears,) = await index.nearest([key], most=most, now_ms=now_ms)
    return nears


async def ids(
    index: SemanticIndex, key: SemanticKey, *, most: int = 5, now_ms: float = NOW_MS
) -> list[str]:
    """Their ids."""
    return [near.entry.entry_id for near in await nearest(index, key, most=most, now_ms=now_ms)]


def number(entry: AnswerCached) -> str:
    """An entry's id."""
    return entry.entry_id


async def test_an_empty_index_finds_nothing(index: SemanticIndex) -> None:
    """Neither for one question nor for none."""
    assert await ids(index, key_of(direction(1))) == []
    assert list(await index.nearest([], most=5, now_ms=NOW_MS)) == []


async def test_the_closest_come_first_with_their_cosine(index: SemanticIndex) -> None:
    """The similarity is the cosine, as exact as float16 vectors are."""
    await index.put(
        [entry_of(2, tilted(1, similarity=0.5)), entry_of(1), entry_of(3, -direction(1))]
    )
    nears = await nearest(index, key_of(direction(1)))
    assert [near.entry.entry_id for near in nears] == [number(entry_of(it)) for it in (1, 2, 3)]
    assert [near.similarity for near in nears] == pytest.approx([1.0, 0.5, -1.0], abs=2e-3)


async def test_an_entry_comes_back_as_it_was_put(index: SemanticIndex) -> None:
    """All of it that is needed to serve it; the vector may be left out."""
    entry = entry_of(1, tenant="acme", stored_at=7)
    await index.put([entry])
    (near,) = await nearest(index, key_of(direction(1)))
    found = near.entry
    assert found.semantic is not None
    assert entry.semantic is not None
    assert found.semantic.text == entry.semantic.text
    assert found.semantic.scope == entry.semantic.scope
    for name in ("entry_id", "tenant", "model", "operation", "fingerprint", "answer_hash"):
        assert getattr(found, name) == getattr(entry, name)
    assert (found.stored_at, found.expires_at) == (entry.stored_at, entry.expires_at)


async def test_no_more_than_asked_for(index: SemanticIndex) -> None:
    """The best ones."""
    await index.put([entry_of(it, tilted(1, similarity=it / 10)) for it in range(2, 9)])
    assert await ids(index, key_of(direction(1)), most=2) == [
        number(entry_of(8)),
        number(entry_of(7)),
    ]


async def test_another_scope_is_never_found(index: SemanticIndex) -> None:
    """However close it is."""
    await index.put([entry_of(1, scope="scope-b"), entry_of(2, tilted(1, similarity=0.2))])
    assert await ids(index, key_of(direction(1))) == [number(entry_of(2))]
    assert await ids(index, key_of(direction(1), scope="scope-c")) == []


async def test_questions_of_several_scopes_are_answered_together(index: SemanticIndex) -> None:
    """Each by its own scope, in their order."""
    await index.put([entry_of(1, scope="scope-a"), entry_of(2, scope="scope-b")])
    keys = [
        key_of(direction(1), scope="scope-b"),
        key_of(direction(1), scope="scope-c"),
        key_of(direction(1), scope="scope-a"),
        key_of(direction(2), scope="scope-b"),
    ]
    found = await index.nearest(keys, most=5, now_ms=NOW_MS)
    assert [[near.entry.entry_id for near in nears] for nears in found] == [
        [number(entry_of(2))],
        [],
        [number(entry_of(1))],
        [number(entry_of(2))],
    ]


async def test_what_has_expired_is_not_found(index: SemanticIndex) -> None:
    """From the moment on that it names."""
    await index.put([entry_of(1, expires_at=int(NOW_MS) + 10), entry_of(2)])
    key = key_of(direction(1))
    assert await ids(index, key, now_ms=NOW_MS + 9) == [number(entry_of(1)), number(entry_of(2))]
    assert await ids(index, key, now_ms=NOW_MS + 10) == [number(entry_of(2))]


async def test_what_was_removed_is_not_found(index: SemanticIndex) -> None:
    """The others are; ids that nobody knows are none."""
    await index.put([entry_of(it) for it in (1, 2, 3)])
    await index.remove([number(entry_of(1)), "request-unknown"])
    await index.remove([])
    assert sorted(await ids(index, key_of(direction(1)))) == [
        number(entry_of(2)),
        number(entry_of(3)),
    ]


async def test_the_same_id_is_replaced(index: SemanticIndex) -> None:
    """Also where its question is another one, in another scope."""
    await index.put([entry_of(1)])
    await index.put([entry_of(1, direction(2), scope="scope-b", fingerprint="f" * 64)])
    assert await ids(index, key_of(direction(1))) == []
    assert await ids(index, key_of(direction(1), scope="scope-b")) == [number(entry_of(1))]


async def test_the_same_question_is_replaced(index: SemanticIndex) -> None:
    """One fingerprint has one answer: the newest. The id of the old one removes nothing."""
    fingerprint = "f" * 64
    await index.put([entry_of(1, fingerprint=fingerprint)])
    await index.put([entry_of(2, direction(1), fingerprint=fingerprint)])
    assert await ids(index, key_of(direction(1))) == [number(entry_of(2))]
    await index.remove([number(entry_of(1))])
    assert await ids(index, key_of(direction(1))) == [number(entry_of(2))]


async def test_an_entry_without_a_question_is_passed_over(index: SemanticIndex) -> None:
    """It is found by its fingerprint alone."""
    await index.put([entry_of(1, semantic=None), entry_of(2)])
    assert await ids(index, key_of(direction(1))) == [number(entry_of(2))]


async def test_the_oldest_of_a_scope_go_first(index: SemanticIndex) -> None:
    """A scope does not grow without end, and does not push out another one's entries."""
    await index.put([entry_of(100, scope="scope-b")])
    for it in range(1, MAX_ENTRIES + 4):
        await index.put([entry_of(it)])
    left = await ids(index, key_of(direction(1)), most=2 * MAX_ENTRIES)
    assert sorted(left) == [number(entry_of(it)) for it in range(4, MAX_ENTRIES + 4)]
    assert await ids(index, key_of(direction(100), scope="scope-b")) == [number(entry_of(100))]


async def test_vectors_of_another_length_are_not_compared(index: SemanticIndex) -> None:
    """Whatever their scope says, they are of another encoder."""
    await index.put([entry_of(1), entry_of(2, direction(2, dimensions=8))])
    assert await ids(index, key_of(direction(1))) == [number(entry_of(1))]
    assert await ids(index, key_of(direction(1, dimensions=8))) == []
