"""Who may ask, and which chunks are the answer."""

from collections.abc import Iterator

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.decide import (
    BAD_CURSOR,
    INVALID_KEY,
    Bereft,
    Close,
    Gap,
    Keep,
    Pass,
    Rival,
    Take,
    View,
    accept,
    authenticate,
    known_keys,
    read_cursor,
)
from services.gateway.sse import EventId
from services.shared.domain.configuration import VirtualKey
from services.shared.domain.errors import PublicError, error_document
from services.shared.domain.events import ChunkKind, ResultChunk
from services.shared.domain.keys import key_hash
from services.shared.domain.terminal import closing_chunk, leaving_chunk
from tests.support.example_events import requested
from tests.support.gateway_desk import (
    KEY,
    KEYS,
    OTHER_KEY,
    REVOKED_KEY,
    STRANGER_KEY,
    chunk,
)
from tests.support.slow_examples import slow_examples

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


def test_a_key_from_elsewhere_is_found_by_its_hash() -> None:
    """Callers keep the key that they have; one that was revoked stays so."""
    brought = VirtualKey(id="old", tenant="acme", hash=key_hash("sk-proj-1234567890"))
    authorization = [b"Bearer sk-proj-1234567890"]
    assert authenticate(authorization, known_keys([ACME, brought])) is brought
    assert authenticate([b"Bearer sk-proj-1234567891"], known_keys([brought])) is INVALID_KEY
    revoked = msgspec.structs.replace(brought, disabled=True)
    assert authenticate(authorization, known_keys([revoked])) is INVALID_KEY


def test_a_hash_is_no_key() -> None:
    """Whoever has read the configuration cannot ask."""
    known = known_keys([ACME])
    assert authenticate([f"Bearer {ACME.hash}".encode()], known) is INVALID_KEY


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
                case Rival() | Pass() | Bereft() | Keep() | Close():
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


def test_an_error_of_whatever_run_ends_the_answer() -> None:
    """A successor may end what its dead predecessor began; nobody writes one who may not."""
    view = View()
    assert accept(view, chunk(0, run="dead")) == Take(is_last=False)
    assert accept(view, chunk(0, ChunkKind.ERROR, run="new", attempt=2)) == Take(is_last=True)


def test_who_gave_up_is_told_so_in_the_middle_of_a_stream_that_goes_on() -> None:
    """The same chunk says nothing to those who follow the stream for requests of their own."""
    leaving = leaving_chunk(requested(1), headers={"x-cache": "miss"}, attempt=1)
    assert (leaving.status, leaving.headers["x-cache"]) == (499, "miss")
    own = View()
    accept(own, chunk(0))
    assert accept(own, leaving) == Take(is_last=True)
    assert accept(View(), leaving) == Take(is_last=True)
    of_leader = msgspec.structs.replace(leaving, request_id=LEADER)
    for said in (0, 1):
        view = View()
        accept(view, joined())
        for seq in range(said):
            assert accept(view, chunk(seq, request_id=LEADER)) == Take(is_last=False)
        assert accept(view, of_leader) == Pass()
        end = chunk(said, ChunkKind.END, request_id=LEADER)
        assert accept(view, end) == Keep()


def test_who_joins_without_following_waits_for_his_own_answer() -> None:
    """The chunk that says so names nobody."""
    view = View()
    assert accept(view, joined("")) == Pass()
    assert (view.leader, view.run) == ("", None)
    assert accept(view, chunk(0, ChunkKind.END, run="", attempt=0)) == Take(is_last=True)


LEADER = "req_of_the_leader"


def joined(leader: str = LEADER) -> ResultChunk:
    """The request says that its answer is another one's."""
    return chunk(0, ChunkKind.JOINED, run="", attempt=0, payload=leader.encode())


def of_leader(seq: int, kind: ChunkKind = ChunkKind.DELTA, **changes: str) -> ResultChunk:
    """A chunk of the leader."""
    return chunk(seq, kind, request_id=LEADER, **changes)


def test_a_joiner_gets_its_leaders_answer() -> None:
    """From the first chunk to the end; what it says itself counts no more, but for an error."""
    view = View()
    assert accept(view, joined()) == Pass()
    assert view.leader == LEADER
    assert accept(view, of_leader(0)) == Take(is_last=False)
    assert accept(view, chunk(0)) == Pass()
    assert accept(view, joined("req_another")) == Pass()
    assert accept(view, of_leader(0, run="rival")) == Rival()
    assert accept(view, of_leader(0, ChunkKind.JOINED)) == Pass()
    assert accept(view, of_leader(1, ChunkKind.END)) == Keep()
    assert accept(view, of_leader(2, ChunkKind.ERROR)) == Pass()
    assert accept(view, closed()) == Close()


@pytest.mark.parametrize("after", [0, 1])
def test_a_joiner_may_close_before_its_leader_is_read_to_its_end(after: int) -> None:
    """They are on two partitions, of which either may be ahead."""
    view = View()
    accept(view, joined())
    for seq in range(after):
        accept(view, of_leader(seq))
    assert accept(view, closed()) == Close()
    for seq in range(after, 2):
        assert accept(view, of_leader(seq)) == Take(is_last=False)
    assert accept(view, of_leader(2, ChunkKind.END)) == Take(is_last=True)


def test_a_joiner_that_was_cancelled_does_not_end_as_its_leader() -> None:
    """Though that one was answered before: the last word is the joiner's own."""
    view = View()
    accept(view, joined())
    accept(view, of_leader(0))
    assert accept(view, of_leader(1, ChunkKind.END)) == Keep()
    assert accept(view, chunk(0, ChunkKind.ERROR, run="")) == Take(is_last=True)


def test_a_joiner_that_was_answered_again_has_ended() -> None:
    """After a crash its answer may come a second time, from the cache and whole."""
    view = View()
    accept(view, joined())
    accept(view, of_leader(0))
    accept(view, of_leader(1, ChunkKind.END))
    assert accept(view, chunk(0, ChunkKind.END, run="", attempt=0)) == Close()


def closed() -> ResultChunk:
    """The request says that it ends as its leader does."""
    return closing_chunk(requested(1), LEADER)


@pytest.mark.parametrize("is_own", [True, False])
def test_an_error_after_the_leaders_output_ends_a_joiner(*, is_own: bool) -> None:
    """Whether the leader failed or the joiner was ended."""
    view = View()
    accept(view, joined())
    accept(view, of_leader(0))
    error = chunk(0, ChunkKind.ERROR) if is_own else of_leader(1, ChunkKind.ERROR)
    assert accept(view, error) == Take(is_last=True)


@pytest.mark.parametrize("code", ["request_cancelled", "deadline_exceeded"])
def test_a_leader_ended_for_its_own_reasons_leaves_its_joiner_bereft(code: str) -> None:
    """The joiner was neither cancelled nor late, and is not told that it was."""
    payload = error_document(PublicError(code=code, message="No."))
    end = chunk(1, ChunkKind.ERROR, request_id=LEADER, payload=payload)
    view = View()
    accept(view, joined())
    accept(view, of_leader(0))
    assert accept(view, end) == Bereft()
    own = View()
    accept(own, chunk(0))
    assert accept(own, msgspec.structs.replace(end, request_id="")) == Take(is_last=True)


def test_a_leader_that_fails_before_its_output_leaves_the_joiner_to_itself() -> None:
    """Its error is not the joiner's, and nothing behind it counts; the joiner's own answer does."""
    view = View()
    accept(view, joined())
    assert accept(view, of_leader(0, ChunkKind.ERROR)) == Pass()
    assert accept(view, of_leader(0, run="late")) == Pass()
    assert accept(view, chunk(0)) == Take(is_last=False)
    assert view.leader == ""
    assert accept(view, joined()) == Pass()
    assert accept(view, chunk(1, ChunkKind.END)) == Take(is_last=True)


@pytest.mark.parametrize("kind", [ChunkKind.DELTA, ChunkKind.END, ChunkKind.ERROR])
def test_a_joiners_own_answer_takes_over_before_any_output(kind: ChunkKind) -> None:
    """However it goes on."""
    view = View()
    accept(view, joined())
    assert accept(view, chunk(0, kind)) == Take(is_last=kind != ChunkKind.DELTA)
    assert view.leader == ""


def test_a_joiner_may_join_another_leader() -> None:
    """As long as nothing was passed on."""
    view = View()
    accept(view, joined())
    accept(view, of_leader(0, ChunkKind.ERROR))
    assert accept(view, joined("req_next")) == Pass()
    assert view.leader == "req_next"
    assert accept(view, chunk(0, request_id="req_next")) == Take(is_last=False)


@pytest.mark.parametrize(
    ("header", "query", "cursor"),
    [
        ("", "", 0),
        ("", "other=1", 0),
        ("", "starting_after=7", 7),
        ("", "starting_after=7:3:42", EventId(7, 3, 42)),
        ("", "starting_after=7%3A3%3A42%3A1", EventId(7, 3, 42, 1)),
        ("7:3:42:1", "", EventId(7, 3, 42, 1)),
        ("7:3:42:1", "starting_after=2", EventId(7, 3, 42, 1)),
        ("12", "", 12),
        ("", "starting_after=", BAD_CURSOR),
        ("", "starting_after=-1", BAD_CURSOR),
        ("", "starting_after=1.5", BAD_CURSOR),
        ("", "starting_after=1:2", BAD_CURSOR),
        ("", "starting_after=" + "9" * 10, BAD_CURSOR),
        ("\u0661", "", BAD_CURSOR),
        ("chatcmpl-1", "", BAD_CURSOR),
    ],
)
def test_a_cursor_is_an_event_or_a_count(header: str, query: str, cursor: object) -> None:
    """The header, which a client renews by itself, comes before the address; junk is refused."""
    assert read_cursor(header, query) == cursor


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
    assert accept(view, chunk(1)) == Pass()
    assert accept(view, chunk(0)) == Pass()
    assert accept(view, chunk(2)) == Take(is_last=False)


@st.composite
def interleaved(
    draw: st.DrawFn, *, ends: tuple[ChunkKind, ...] = (ChunkKind.END, ChunkKind.ERROR)
) -> tuple[list[ResultChunk], tuple[str, int], list[ResultChunk]]:
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
                draw(st.sampled_from(ends)),
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


@slow_examples
@given(interleaved())
def test_a_reader_takes_one_attempt_whole_and_nothing_else(
    history: tuple[list[ResultChunk], tuple[str, int], list[ResultChunk]],
) -> None:
    """However attempts interleave and repeat, the first one comes out, in order, each chunk once.

    So two readers of the same log, on whatever gateway, show the same stream.
    """
    log, first, chunks = history
    result = taken(log)
    own = [each for each in result if (each.run, each.attempt) == first]
    assert own == chunks[: len(own)]
    if own == result:
        assert own == chunks
    else:  # an error of another attempt came before the end
        assert result[:-1] == own
        assert result[-1].kind == ChunkKind.ERROR
        assert own != chunks


@given(interleaved(ends=(ChunkKind.END,)), st.data())
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
