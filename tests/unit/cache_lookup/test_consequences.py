"""What the end of a leader means for those that joined it."""

from typing import Any

import msgspec
import pytest

from services.cache_lookup.consequences import MAX_RERUNS, Share, consequence
from services.cache_lookup.flights import Flight, Flights, Joiner
from services.shared.domain.errors import ERRORS, FaultDomain, PublicError
from services.shared.domain.events import Failure, InferenceFinished
from tests.support.example_events import finished, requested
from tests.support.fake_clock import START_MS
from tests.support.terminals import CALL


def flight(*, reruns: int = 0) -> Flight[str]:
    """Of key ``key-1``."""
    flights: Flights[str] = Flights()
    flights.lead(requested(1), bypasses=False, now_ms=START_MS, reruns=reruns)
    (only,) = flights.leaders.values()
    return only


def joiner(*, follows: bool = False, key_id: str = "key-1", late_ms: int = 0) -> Joiner[str]:
    """Somebody who waits; ``late_ms``: how long after the leader's end he came."""
    accepted_at = ended("completed").finished_at + late_ms
    request = requested(2, key_id=key_id, accepted_at=accepted_at)
    return Joiner(request, "record", follows=follows)


def ended(outcome: str, code: str = "", *, has_output: bool = False) -> InferenceFinished:
    """A leader's end."""
    error = None
    if code:
        meaning = ERRORS.get(code)
        fault = "gateway" if meaning is None else meaning.fault.value
        error = Failure(code=code, message="No.", param="messages", fault=fault)
    call = CALL if has_output else msgspec.structs.replace(CALL, first_chunk_ms=-1.0)
    return finished(1, outcome=outcome, error=error, calls=(call,), response=b"")


OWN = sorted(code for code, it in ERRORS.items() if it.fault is FaultDomain.GATEWAY)
THEIRS = sorted(code for code, it in ERRORS.items() if it.fault is not FaultDomain.GATEWAY)


@pytest.mark.parametrize("follows", [True, False])
def test_an_answer_is_shared(*, follows: bool) -> None:
    """With everybody who waits."""
    result = consequence(joiner(follows=follows), flight(), ended("completed"))
    assert result is Share.ANSWER


@pytest.mark.parametrize("code", THEIRS)
def test_an_error_of_the_request_or_the_provider_is_everybody_s(code: str) -> None:
    """Asking again would cost once more and end the same."""
    error = consequence(joiner(), flight(), ended("failed", code))
    assert error == PublicError(code=code, message="No.", param="messages")


TIERED = b'{"model":"small","messages":[],"service_tier":"flex"}'


def test_a_refusal_may_be_about_what_the_leader_alone_asked_for() -> None:
    """Who asked otherwise is run again; but not for ever, as the rest may be what is refused."""
    other = joiner()
    other.request = msgspec.structs.replace(other.request, body=TIERED)
    rejected = ended("failed", "provider_rejected")
    for reruns in range(MAX_RERUNS):
        assert consequence(other, flight(reruns=reruns), rejected) is Share.RUN_AGAIN
    assert isinstance(consequence(other, flight(reruns=MAX_RERUNS), rejected), PublicError)
    too_long = ended("failed", "context_length_exceeded")
    assert isinstance(consequence(other, flight(), too_long), PublicError)


@pytest.mark.parametrize("code", OWN)
def test_a_fault_of_ours_is_nobody_s(code: str) -> None:
    """They run again; but not for ever, as the request may be what breaks us."""
    for reruns in range(MAX_RERUNS):
        result = consequence(joiner(), flight(reruns=reruns), ended("failed", code))
        assert result is Share.RUN_AGAIN
    error = consequence(joiner(), flight(reruns=MAX_RERUNS), ended("failed", code))
    assert isinstance(error, PublicError)
    assert error.code == code


def test_an_error_that_is_not_known_is_ours() -> None:
    """A newer stage may write codes that this one has never heard of."""
    assert consequence(joiner(), flight(), ended("failed", "novel")) is Share.RUN_AGAIN
    error = consequence(joiner(), flight(reruns=MAX_RERUNS), ended("failed", "novel"))
    assert isinstance(error, PublicError)
    assert error.code == "internal_error"


@pytest.mark.parametrize("code", ["invalid_api_key", "model_not_found", "rate_limit_exceeded"])
def test_what_one_key_may_not_another_may(code: str) -> None:
    """A joiner of another key of the tenant is on its own again."""
    other = consequence(joiner(key_id="key-2"), flight(), ended("failed", code))
    same = consequence(joiner(), flight(), ended("failed", code))
    assert other is Share.RUN_AGAIN
    assert isinstance(same, PublicError)


@pytest.mark.parametrize("outcome", ["cancelled", "expired"])
@pytest.mark.parametrize("reruns", [0, MAX_RERUNS, 100])
@pytest.mark.parametrize("code", ["", "request_cancelled", "deadline_exceeded"])
def test_who_is_given_up_takes_nobody_with_him(outcome: str, reruns: int, code: str) -> None:
    """However often that happens: each time it is another client's decision."""
    assert consequence(joiner(), flight(reruns=reruns), ended(outcome, code)) is Share.RUN_AGAIN


@pytest.mark.parametrize("follows", [True, False])
def test_the_answer_of_a_call_that_was_left_to_its_joiners_is_theirs(*, follows: bool) -> None:
    """The leader itself was cancelled; its terminal record has the answer all the same."""
    left = msgspec.structs.replace(
        ended("cancelled", "request_cancelled", has_output=True), response=b"{}"
    )
    assert consequence(joiner(follows=follows), flight(), left) is Share.ANSWER


@pytest.mark.parametrize(
    ("outcome", "code", "follows", "has_output", "expected"),
    [
        pytest.param("cancelled", "request_cancelled", True, True, "stream_interrupted", id="cut"),
        pytest.param("expired", "deadline_exceeded", True, True, "stream_interrupted", id="late"),
        pytest.param("failed", "internal_error", True, True, "internal_error", id="ours"),
        pytest.param("failed", "provider_timeout", True, True, "provider_timeout", id="theirs"),
        pytest.param("cancelled", "request_cancelled", True, False, None, id="no_output"),
        pytest.param("failed", "internal_error", False, True, None, id="saw_nothing"),
        pytest.param("failed", "", False, True, None, id="no_error"),
    ],
)
def test_half_an_answer_cannot_be_taken_back(
    outcome: str, code: str, *, follows: bool, has_output: bool, expected: str | None
) -> None:
    """Who has seen some of the leader's tokens gets an error; who has not runs again."""
    result: Any = consequence(
        joiner(follows=follows), flight(), ended(outcome, code, has_output=has_output)
    )
    assert (result is Share.RUN_AGAIN) if expected is None else (result.code == expected)


def test_a_leader_that_was_never_called_had_no_output() -> None:
    """E.g. refused by the router."""
    event = msgspec.structs.replace(ended("failed", "internal_error"), calls=())
    assert consequence(joiner(follows=True), flight(), event) is Share.RUN_AGAIN


@pytest.mark.parametrize("code", ["provider_error", "context_length_exceeded"])
def test_who_came_after_a_failure_runs_by_himself(code: str) -> None:
    """Word of the end was only late: what is asked anew is not told what failed before."""
    late = joiner(late_ms=1)
    assert consequence(late, flight(), ended("failed", code)) is Share.RUN_AGAIN
    shown = joiner(late_ms=1, follows=True)
    error = consequence(shown, flight(), ended("failed", code, has_output=True))
    assert isinstance(error, PublicError)  # he has seen half of it


@pytest.mark.parametrize(
    ("late_ms", "is_kept", "follows", "result"),
    [
        (0, False, False, Share.ANSWER),
        (1, True, False, Share.ANSWER),
        (1, False, False, Share.RUN_AGAIN),
        (1, False, True, Share.ANSWER),
    ],
)
def test_who_came_after_an_answer(
    *, late_ms: int, is_kept: bool, follows: bool, result: Share
) -> None:
    """Gets it as from the cache, unless it is not to be kept; what he has seen is his."""
    led = flight()
    led.is_kept = is_kept
    late = joiner(late_ms=late_ms, follows=follows)
    assert consequence(late, led, ended("completed")) is result
