"""Who may ask, and which chunks are the answer."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.decide import (
    INVALID_KEY,
    Gap,
    Repeated,
    Rival,
    Take,
    View,
    accept,
    authenticate,
)
from services.shared.domain.events import ChunkKind, ResultChunk
from tests.support.gateway_desk import (
    KEY,
    KEYS,
    OTHER_KEY,
    REVOKED_KEY,
    STRANGER_KEY,
    chunk,
)

ACME = KEYS["acme-1"]


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_a_valid_key_is_found(scheme: str) -> None:
    """The scheme's case does not matter, nor do spaces around the key."""
    assert authenticate([f"{scheme} {KEY}".encode()], KEYS) is ACME
    assert authenticate([f"{scheme}   {KEY} ".encode()], KEYS) is ACME


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param([], id="none"),
        pytest.param([b""], id="empty"),
        pytest.param([b"Bearer"], id="scheme_alone"),
        pytest.param([f"Bearer{KEY}".encode()], id="no_space"),
        pytest.param([KEY.encode()], id="no_scheme"),
        pytest.param([f"Basic {KEY}".encode()], id="wrong_scheme"),
        pytest.param([f"Bearer {KEY}".encode()] * 2, id="twice"),
        pytest.param([f"Bearer {KEY}, Bearer {KEY}".encode()], id="two_in_one"),
        pytest.param([f"Bearer {STRANGER_KEY}".encode()], id="unknown_id"),
        pytest.param([f"Bearer {REVOKED_KEY}".encode()], id="revoked"),
        pytest.param([f"Bearer {KEY[:-1]}x".encode()], id="mistyped"),
        pytest.param([f"Bearer {KEY}x".encode()], id="longer"),
        pytest.param([b"Bearer sk-proj-1234567890"], id="another_products_key"),
        pytest.param([b"Bearer ' OR 1=1 --"], id="sql"),
        pytest.param([b"Bearer *"], id="wildcard"),
        pytest.param([b"Bearer %00"], id="percent"),
        pytest.param(["Bearer gw_test_acme-1_ä".encode()], id="not_ascii"),
        pytest.param([b"Bearer " + b"a" * 1_000_000], id="endless"),
    ],
)
def test_every_other_header_is_refused_alike(headers: list[bytes]) -> None:
    """Unknown, revoked, mistyped, missing and hostile keys get one and the same answer."""
    assert authenticate(headers, KEYS) is INVALID_KEY


def test_a_key_with_another_keys_secret_is_refused() -> None:
    """The id finds a key; only the whole key proves it."""
    swapped = {"acme-1": KEYS["other-1"]}
    assert authenticate([f"Bearer {KEY}".encode()], swapped) is INVALID_KEY
    assert authenticate([f"Bearer {OTHER_KEY}".encode()], {"other-1": ACME}) is INVALID_KEY


def taken(chunks: list[ResultChunk]) -> list[ResultChunk]:
    """What a reader takes of chunks, up to the end or the first gap."""

    def take() -> Iterator[ResultChunk]:
        view = View()
        for each in chunks:
            match accept(view, each):
                case Take(is_last=is_last):
                    yield each
                    if is_last:
                        return
                case Gap():
                    return
                case Rival() | Repeated():
                    pass

    return list(take())


def test_the_first_attempt_in_the_log_is_the_answer() -> None:
    """Whatever another run or attempt says later, in whatever order, is passed over."""
    view = View()
    assert accept(view, chunk(0, run="b", attempt=2)) == Take(is_last=False)
    assert accept(view, chunk(0, run="a", attempt=1)) == Rival()
    assert accept(view, chunk(1, run="b", attempt=1)) == Rival()
    assert accept(view, chunk(1, run="b", attempt=2)) == Take(is_last=False)
    assert accept(view, chunk(2, ChunkKind.END, run="a", attempt=1)) == Rival()
    assert accept(view, chunk(2, ChunkKind.END, run="b", attempt=2)) == Take(is_last=True)


def test_an_error_ends_an_answer_as_an_end_does() -> None:
    """Nothing comes after either."""
    assert accept(View(), chunk(0, ChunkKind.ERROR)) == Take(is_last=True)
    assert accept(View(), chunk(0, ChunkKind.END)) == Take(is_last=True)


def test_a_missing_chunk_is_noticed() -> None:
    """Neither the beginning nor the middle of an answer may be left out."""
    assert accept(View(), chunk(1)) == Gap()
    view = View()
    accept(view, chunk(0))
    assert accept(view, chunk(2)) == Gap()


def test_a_repeated_chunk_is_passed_over() -> None:
    """At-least-once delivery shows a client nothing twice."""
    view = View()
    accept(view, chunk(0))
    accept(view, chunk(1))
    assert accept(view, chunk(1)) == Repeated()
    assert accept(view, chunk(0)) == Repeated()
    assert accept(view, chunk(2)) == Take(is_last=False)


@st.composite
def interleaved(draw: st.DrawFn) -> tuple[list[ResultChunk], tuple[str, int], list[ResultChunk]]:
    """A log of several attempts at one answer, each in order, some chunks repeated.

    Returns:
        The log, whose attempt began it, and that attempt's chunks.
    """
    attempts = draw(
        st.lists(
            st.tuples(st.sampled_from("abc"), st.integers(1, 3), st.integers(0, 6)),
            min_size=1,
            max_size=4,
            unique_by=lambda attempt: attempt[:2],
        )
    )
    waiting = {
        (run, attempt): [
            *(chunk(seq, run=run, attempt=attempt) for seq in range(deltas)),
            chunk(
                deltas,
                draw(st.sampled_from([ChunkKind.END, ChunkKind.ERROR])),
                run=run,
                attempt=attempt,
            ),
        ]
        for run, attempt, deltas in attempts
    }
    whole = {who: list(chunks) for who, chunks in waiting.items()}
    log: list[ResultChunk] = []
    while waiting:
        who = draw(st.sampled_from(sorted(waiting)))
        log.append(waiting[who].pop(0))
        if not waiting[who]:
            del waiting[who]
        if draw(st.booleans()):
            log.append(draw(st.sampled_from(log)))
    first = (log[0].run, log[0].attempt)
    return log, first, whole[first]


@given(interleaved())
def test_a_reader_takes_one_attempt_whole_and_nothing_else(
    history: tuple[list[ResultChunk], tuple[str, int], list[ResultChunk]],
) -> None:
    """However attempts interleave and repeat, the first one comes out, in order, each chunk once.

    So two readers of the same log, on whatever gateway, show the same stream.
    """
    log, first, chunks = history
    result = taken(log)
    assert result == chunks
    assert {(each.run, each.attempt) for each in result} == {first}


@given(interleaved(), st.data())
def test_a_lost_chunk_never_goes_unnoticed(
    history: tuple[list[ResultChunk], tuple[str, int], list[ResultChunk]], data: st.DataObject
) -> None:
    """Without one chunk of an answer, what is taken is a beginning of it and has no end."""
    log, first, chunks = history
    lost = data.draw(st.sampled_from(chunks))
    left = [each for each in log if each != lost]
    result = [each for each in taken(left) if (each.run, each.attempt) == first]
    assert result == chunks[: len(result)]
    assert lost not in result
