"""What is done with a request that calls were made for before, as a table."""

import msgspec
import pytest

from services.model_caller.attempt_index import Ended, OpenAttempt
from services.model_caller.redelivery import (
    VANISHED,
    CallAgain,
    EndWith,
    Park,
    Recover,
    Replay,
    Serve,
    Settle,
    after_vanishing,
    call_that_ended,
    is_gone,
    on_delivery,
    policies,
    slot_of,
    stream_of,
    targets_to_ask,
    was_left,
)
from services.shared.domain.configuration import Model, ModelTarget, OnUnknown
from services.shared.domain.errors import PublicError, error_document
from services.shared.domain.events import ModelCall, ModelCallAttempt, ResultChunk, Target
from services.shared.domain.terminal import CALL_GOES_ON, CALL_HEADER
from tests.support.example_events import finished

STARTED = OpenAttempt(attempt=2, owner="model-caller-0.aaa", offset=7)
BETWEEN = msgspec.structs.replace(STARTED, is_finished=True)
REFUSED = PublicError(code="provider_rejected", message="No.", param="n")


@pytest.mark.parametrize(
    ("known", "owner_is_gone", "step"),
    [
        (None, False, Serve(0)),
        (None, True, Serve(0)),
        (Ended(9), False, Replay(9)),
        (Ended(9), True, Replay(9)),
        (STARTED, False, Park()),
        (BETWEEN, False, Park()),
        (BETWEEN, True, Serve(2)),
        (STARTED, True, Settle(STARTED)),
    ],
)
def test_the_table(
    known: OpenAttempt | Ended | None,
    owner_is_gone: bool,  # noqa: FBT001
    step: Serve | Replay | Park | Settle,
) -> None:
    """What the log knows and whether its owner lives decide."""
    assert on_delivery(known, owner_is_gone=owner_is_gone) == step


@pytest.mark.parametrize(
    ("known", "step"),
    [
        pytest.param(None, Serve(2), id="nothing is known"),
        pytest.param(Ended(9), Replay(9), id="it has ended meanwhile"),
        pytest.param(BETWEEN, Serve(2), id="nobody is at it, though its caller lives"),
        pytest.param(STARTED, Serve(2), id="how the last call ended is not in the log"),
        pytest.param(
            msgspec.structs.replace(BETWEEN, attempt=1), Serve(2), id="the log knows less"
        ),
        pytest.param(
            msgspec.structs.replace(BETWEEN, attempt=3), Park(), id="another record went on"
        ),
    ],
)
def test_a_record_that_was_put_off_knows_how_many_calls_there_were(
    known: OpenAttempt | Ended | None, step: Serve | Replay | Park | Settle
) -> None:
    """Only a further call means that somebody is at its request."""
    assert on_delivery(known, owner_is_gone=False, put_off_after=2) == step


OWN = "model-caller-0.bbb"


@pytest.mark.parametrize(
    ("owner", "holds_slot", "is_serving", "is_silent", "gone"),
    [
        (OWN, True, True, True, False),  # we are at it, however silent we were
        (OWN, True, False, False, True),  # ours, but given up
        ("model-caller-0.aaa", True, False, False, True),  # we hold its lock
        ("model-caller-0.aaa", False, False, False, False),  # the same name, but no lock
        ("model-caller-0.aaa", False, False, True, True),
        ("model-caller-1.aaa", True, False, False, False),
        ("model-caller-1.aaa", True, False, True, True),
    ],
)
def test_who_is_gone(
    owner: str,
    holds_slot: bool,  # noqa: FBT001
    is_serving: bool,  # noqa: FBT001
    is_silent: bool,  # noqa: FBT001
    gone: bool,  # noqa: FBT001
) -> None:
    """A lock tells at once, silence takes its time."""
    assert (
        is_gone(owner, own=OWN, holds_slot=holds_slot, is_serving=is_serving, is_silent=is_silent)
        is gone
    )


def test_a_slot_may_have_dots() -> None:
    """The run is what stands behind the last one."""
    assert slot_of("model.caller-0.aaa") == "model.caller-0"


def chunk(kind: str, seq: int = 0, *, run: str = "a", payload: bytes = b"{}") -> ResultChunk:
    """A chunk of a request."""
    return ResultChunk(
        request_id="request-1", run=run, attempt=1, seq=seq, kind=kind, payload=payload
    )


DELTA, END, OTHER = chunk("delta"), chunk("end", 1), chunk("delta", run="b")
WHOLE, SECOND, THIRD = chunk("end"), chunk("delta", 1), chunk("end", 2)
TOLD = chunk("error", run="b", payload=error_document(REFUSED))
JOINED = chunk("joined", payload=b"request-9")


@pytest.mark.parametrize(
    ("policy", "chunks", "step"),
    [
        (OnUnknown.RETRY, [], CallAgain()),
        (OnUnknown.RETRY, [JOINED], CallAgain()),
        (OnUnknown.FAIL, [], EndWith(VANISHED)),
        (OnUnknown.RETRY, [DELTA], EndWith(VANISHED, seq=1)),
        (OnUnknown.FAIL, [DELTA, OTHER], EndWith(VANISHED, seq=1)),
        (OnUnknown.RETRY, [WHOLE], Recover((WHOLE,))),
        (OnUnknown.RETRY, [DELTA, THIRD], EndWith(VANISHED, seq=1)),
        (OnUnknown.FAIL, [SECOND, THIRD], EndWith(VANISHED)),
        (OnUnknown.FAIL, [DELTA, OTHER, END, TOLD], Recover((DELTA, END))),
        (OnUnknown.RETRY, [TOLD], EndWith(REFUSED, is_told=True)),
        (OnUnknown.RETRY, [DELTA, TOLD], EndWith(REFUSED, is_told=True)),
        (OnUnknown.RETRY, [chunk("error", payload=b"?")], EndWith(VANISHED, is_told=True)),
        (
            OnUnknown.RETRY,
            [chunk("error", payload=b'{"error":{"code":"?"}}')],
            EndWith(VANISHED, is_told=True),
        ),
    ],
)
def test_what_follows_a_vanished_call(
    policy: OnUnknown, chunks: list[ResultChunk], step: CallAgain | EndWith | Recover
) -> None:
    """What the client has seen goes before what the policy says."""
    assert after_vanishing(policy, chunks) == step


def test_a_reader_follows_the_first_attempt_with_output() -> None:
    """Others are passed over, and whatever comes after the end."""
    assert stream_of([JOINED, DELTA, OTHER, SECOND, THIRD, DELTA]) == (DELTA, SECOND, THIRD)
    assert stream_of([DELTA, TOLD, END]) == (DELTA, TOLD)
    left = msgspec.structs.replace(TOLD, headers={CALL_HEADER: CALL_GOES_ON})
    assert stream_of([DELTA, left, END]) == (DELTA, END), "others read on"


def test_a_caller_has_left_who_was_told_so_before_the_end() -> None:
    """The order of the log decides, as it does for the caller himself."""
    left = msgspec.structs.replace(TOLD, headers={CALL_HEADER: CALL_GOES_ON})
    assert was_left([DELTA, left, END])
    assert was_left([left])
    assert was_left([DELTA, left])
    assert not was_left([DELTA, END, left])
    assert not was_left([WHOLE, left])
    assert not was_left([DELTA, TOLD, left])
    assert not was_left([DELTA, OTHER])
    assert not was_left([])


def test_a_reader_takes_each_chunk_once_and_none_after_a_gap() -> None:
    """What a log holds twice counts once; half an answer is never taken for a whole one."""
    assert stream_of([DELTA, DELTA, SECOND, DELTA, THIRD]) == (DELTA, SECOND, THIRD)
    assert stream_of([DELTA, THIRD, SECOND]) == (DELTA,)
    assert stream_of([THIRD]) == ()


def test_policies_follow_patterns() -> None:
    """As the router finds an alias, so does the policy; an alias that is gone is retried."""
    target = ModelTarget(provider="p", model="m")
    policy_of = policies(
        {
            "careful-*": Model(targets=(target,), on_unknown=OnUnknown.FAIL),
            "careful-not": Model(targets=(target,)),
        }
    )
    assert policy_of("careful-one") is OnUnknown.FAIL
    assert policy_of("careful-not") is OnUnknown.RETRY
    assert policy_of("gone") is OnUnknown.RETRY


@pytest.mark.parametrize(
    ("left", "names", "is_cut"),
    [
        pytest.param((), ["a", "b", "c"], False, id="nobody answered"),
        pytest.param(("a/m",), ["b", "c"], True, id="the first did"),
        pytest.param(("b/m",), ["c"], True, id="the second did, after the first had failed"),
        pytest.param(("a/m", "b/m", "c/m"), ["c"], True, id="one is always left"),
        pytest.param(("x/m",), ["a", "b", "c"], False, id="one that is no target any more"),
    ],
)
def test_targets_found_doubtful_are_not_asked_again(
    left: tuple[str, ...],
    names: list[str],
    *,
    is_cut: bool,
) -> None:
    """Those up to the last one whose answer was not good enough are left out."""
    targets = [Target(provider=name, model="m") for name in "abc"]
    known = OpenAttempt(attempt=1, owner="a.1", left=left)
    to_ask, was_cut = targets_to_ask(targets, known)
    assert ([it.provider for it in to_ask], was_cut) == (names, is_cut)
    assert targets_to_ask(targets, None) == (targets, False)
    assert targets_to_ask(targets, Ended(1)) == (targets, False)


def test_the_call_that_ended_a_request_is_the_one_of_that_attempt() -> None:
    """Of several calls the last one; none where the request was ended without another call."""
    calls = tuple(
        ModelCall(attempt=n, provider="p", model="m", started_ms=1, finished_ms=2) for n in (1, 2)
    )
    terminal = finished(calls=calls)
    ended = ModelCallAttempt(kind="finished", owner="o", at=1, attempt=2, provider="p")
    assert call_that_ended(ended, terminal) == calls[1]
    assert call_that_ended(msgspec.structs.replace(ended, attempt=3), terminal) is None
    assert call_that_ended(msgspec.structs.replace(ended, provider=""), terminal) is None
