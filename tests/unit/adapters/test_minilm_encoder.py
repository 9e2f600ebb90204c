"""How the encoder shares its one thread, with a model of the test's own."""

import asyncio
import threading
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from services.shared.adapters.minilm.encoder import MiniLmEncoder
from services.shared.adapters.minilm.tokens import Tokens, is_mostly_latin
from services.shared.domain.errors import Unavailable
from services.shared.ports.encoder import Vectors


class Letters(Tokens):
    """A token a letter."""

    def __init__(self) -> None:
        """Needs no tokenizer."""

    def ids(self, text: str) -> list[int]:
        """The letters."""
        return list(text.encode())


class Gate:
    """A model that waits until it may go on, and notes what it ran."""

    build = "gate"

    def __init__(self) -> None:
        self.may_run = threading.Event()
        self.is_broken = False
        self.runs: list[list[str]] = []

    def vectors(self, ids: NDArray[np.int64]) -> Vectors:
        """A vector with the first letter's code."""
        assert self.may_run.wait(10)
        if self.is_broken:
            raise RuntimeError
        self.runs.append([bytes(row.tolist()).decode() for row in ids])
        vectors = np.zeros((len(ids), 384), np.float32)
        vectors[:, 0] = ids[:, 0]
        return vectors


Make = Callable[..., MiniLmEncoder]


@pytest.fixture
def gate() -> Iterator[Gate]:
    """A closed gate; opened in the end, so that no thread is left behind."""
    made = Gate()
    yield made
    made.may_run.set()


@pytest.fixture
def make(gate: Gate) -> Iterator[Make]:
    """Makes encoders with that model."""
    made: list[MiniLmEncoder] = []

    def encoder(**limits: int) -> MiniLmEncoder:
        made.append(MiniLmEncoder(gate, Letters(), **limits))
        return made[-1]

    yield encoder
    for one in made:
        one.close()


async def _started(encoder: MiniLmEncoder, *texts: str) -> "asyncio.Task[Vectors]":
    """A call that is under way."""
    task = asyncio.create_task(encoder.encode(texts))
    await asyncio.sleep(0)
    return task


async def test_a_full_queue_refuses_and_goes_on(gate: Gate, make: Make) -> None:
    """Who comes too much is told so at once; who waits already is answered."""
    encoder = make(most_waiting=3)
    running = await _started(encoder, "a")
    await asyncio.sleep(0)
    waiting = await _started(encoder, "b", "c")
    with pytest.raises(Unavailable):
        await encoder.encode(["d", "e"])
    gate.may_run.set()
    assert (await running)[0, 0] == ord("a")
    assert (await waiting)[:, 0].tolist() == [ord("b"), ord("c")]
    assert (await encoder.encode(["d", "e"]))[:, 0].tolist() == [ord("d"), ord("e")]


async def test_one_large_call_is_taken_when_nothing_waits(gate: Gate, make: Make) -> None:
    """Otherwise it could never be answered."""
    gate.may_run.set()
    texts = [chr(97 + n) for n in range(10)]
    vectors = await make(most_waiting=3).encode(texts)
    assert vectors[:, 0].tolist() == [ord(text) for text in texts]


async def test_a_short_call_does_not_wait_for_a_long_one(gate: Gate, make: Make) -> None:
    """Both take turns: the short one is in the next batch, not in the last."""
    encoder = make()
    long = await _started(encoder, *(f"long {n:03}" for n in range(200)))
    await asyncio.sleep(0)
    short = await _started(encoder, "short")
    gate.may_run.set()
    await short
    assert not long.done()
    await long
    with_short = [place for place, run in enumerate(gate.runs) if "short" in run]
    assert with_short[0] <= 3


async def test_texts_of_one_length_run_together(gate: Gate, make: Make) -> None:
    """No text is padded, so none is changed by its company."""
    gate.may_run.set()
    await make().encode(["aa", "b", "cc", "d"])
    assert gate.runs == [["aa", "cc"], ["b", "d"]]


async def test_long_texts_run_a_few_at_a_time(gate: Gate, make: Make) -> None:
    """A run holds some 512 tokens, a batch some 4,096 characters."""
    gate.may_run.set()
    texts = [f"{n:0300}" for n in range(20)]
    await make().encode(texts)
    assert [text for run in gate.runs for text in run] == texts
    assert max(map(len, gate.runs)) == 1


async def test_what_a_caller_that_left_asked_for_is_not_encoded(gate: Gate, make: Make) -> None:
    """A caller whose time is up costs nothing more."""
    encoder = make(most_waiting=2)
    running = await _started(encoder, "a")
    await asyncio.sleep(0)
    left = await _started(encoder, "b", "c")
    left.cancel()
    await asyncio.wait([left])
    waiting = await _started(encoder, "d", "e")
    gate.may_run.set()
    await running
    await waiting
    assert sorted(text for run in gate.runs for text in run) == ["a", "d", "e"]


async def test_a_broken_model_is_unavailable_and_may_recover(gate: Gate, make: Make) -> None:
    """No library's exception reaches a caller, and the next call is tried."""
    encoder = make()
    gate.may_run.set()
    gate.is_broken = True
    with pytest.raises(Unavailable):
        await encoder.encode(["a"])
    gate.is_broken = False
    assert (await encoder.encode(["a"]))[0, 0] == ord("a")


async def test_recent_texts_are_remembered_and_old_ones_forgotten(gate: Gate, make: Make) -> None:
    """A text asked twice is run once, while it is among the last that were asked for."""
    gate.may_run.set()
    encoder = make(most_remembered=2)
    for text in ("a", "b", "a", "c", "a", "b"):
        assert (await encoder.encode([text]))[0, 0] == ord(text)
    assert gate.runs == [["a"], ["b"], ["c"], ["b"]]


async def test_remembered_vectors_cannot_be_spoilt(gate: Gate, make: Make) -> None:
    """What a caller does to its vectors stays with it."""
    gate.may_run.set()
    encoder = make()
    (await encoder.encode(["a"]))[:] = 0
    assert (await encoder.encode(["a"]))[0, 0] == ord("a")


@pytest.mark.parametrize(
    ("text", "is_latin"),
    [
        ("abcd", True),
        ("1 2 3", False),
        ("", False),
        ("éèêë", True),
        ("abcdж", True),  # four of five
        ("abcжд", False),
        ("ﬁne", True),
        ("ạ ế", True),
    ],
)
def test_four_fifths_of_the_letters_are_latin(text: str, *, is_latin: bool) -> None:
    """The border is part of it; what is no letter does not count."""
    assert is_mostly_latin(text) is is_latin
