"""Ids counted lately: bounded, and the same after a restart."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.metrics_aggregator import counted_ids
from services.metrics_aggregator.counted_ids import CountedMemory, id_hash
from services.metrics_aggregator.table_keys import ID_BYTES, CountedIds

hashes = st.lists(st.integers(min_value=0, max_value=2**64 - 1), max_size=30, unique=True)


def memory(*, capacity: int = 1_000) -> CountedMemory:
    """A memory of nothing."""
    return CountedMemory(sealed={}, newest=b"", first_offset=0, capacity=capacity)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of two ids."""
    monkeypatch.setattr(counted_ids, "BLOCK_IDS", 2)


def test_hashes_are_the_same_in_every_process() -> None:
    """They are stored: a changed hash would count redelivered requests twice."""
    assert id_hash("req_1") == 0xE065E132737618A6
    assert id_hash("req_1") != id_hash("req_2")
    assert 0 <= id_hash("") < 2 ** (8 * ID_BYTES)


@given(hashes)
def test_what_was_added_is_known(added: list[int]) -> None:
    """Property: membership, also of ids that are in sealed blocks by now."""
    known = memory()
    for offset, hashed in enumerate(added):
        assert hashed not in known
        known.add(hashed)
        known.seal(through_offset=offset)

    assert all(hashed in known for hashed in added)


@given(hashes)
def test_a_memory_survives_a_restart(added: list[int]) -> None:
    """Property: sealed blocks and the newest one are all there is to it."""
    known, sealed = memory(), {}
    for offset, hashed in enumerate(added):
        known.add(hashed)
        block = known.seal(through_offset=offset)
        if block is not None:
            sealed[block[0]] = block[1]

    again = CountedMemory(
        sealed=sealed, newest=known.newest, first_offset=known.first_offset, capacity=1_000
    )

    assert all(hashed in again for hashed in added)
    assert again.newest == known.newest
    assert sum(len(block.ids) for block in sealed.values()) + len(again.newest) == (
        len(added) * ID_BYTES
    )


def test_a_block_is_sealed_when_it_is_full_and_the_next_one_begins_behind_it() -> None:
    """Each id is written twice at most: while its block grows, and when it is sealed."""
    known = memory()
    known.add(7)
    assert known.seal(through_offset=10) is None
    known.add(8)

    sealed = known.seal(through_offset=12)

    ids = (7).to_bytes(8, "little") + (8).to_bytes(8, "little")
    assert sealed == (0, CountedIds(12, ids))
    assert (known.newest, known.first_offset) == (b"", 13)


def test_the_oldest_blocks_are_forgotten_first() -> None:
    """The memory is bounded; what it held longest goes, whole blocks at a time."""
    known = memory(capacity=4)
    for hashed in range(7):
        known.add(hashed)
        known.seal(through_offset=hashed)

    assert known.forget() == [0]
    assert known.forget() == []
    assert [hashed in known for hashed in range(7)] == [False, False, *[True] * 5]
