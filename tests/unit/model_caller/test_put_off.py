"""What becomes of requests whose call may not start."""

import pytest

from services.model_caller.decide import failure
from services.model_caller.put_off import (
    DELAYS_MS,
    batch_of_one,
    final_error,
    next_turn,
    shut_error,
)
from services.model_caller.wishes import Shut
from services.shared.codec.headers import RETRY_TURNS
from services.shared.domain.emit import Delay
from services.shared.domain.topics import RETRY_TOPICS
from tests.unit.model_caller.callers import member

NOW_MS = 1_780_000_000_000
SHUT = Shut("circuit", 2_500.4)


@pytest.mark.parametrize(
    ("on", "code", "status"),
    [
        ("circuit", "provider_unavailable", 503),
        ("rate", "provider_rate_limited", 429),
        ("slots", "provider_overloaded", 503),
    ],
)
def test_the_caller_learns_why_and_when(on: str, code: str, status: int) -> None:
    """A typed error with the time when it may work."""
    error = shut_error(Shut(on, 2_500.4))
    assert (error.code, error.meaning.status, error.retry_after_ms) == (code, status, 2_500)
    assert error.meaning.should_retry
    assert shut_error(Shut(on, 0.0)).retry_after_ms == 1


@pytest.mark.parametrize("priority", [1, 2])
@pytest.mark.parametrize(("turns", "wait"), [(0, 0), (1, 1), (2, 2), (9, 2)])
def test_background_work_waits_longer_with_each_turn(priority: int, turns: int, wait: int) -> None:
    """In a retry topic, due by the topic's delay, with its turns counted."""
    event = member(priority=priority, deadline_at=NOW_MS + 86_400_000)
    emit = next_turn(
        event,
        headers={RETRY_TURNS: turns.to_bytes(4, "big")} if turns else {},
        now_ms=NOW_MS + 0.7,
    )
    assert emit is not None
    assert emit.topic == RETRY_TOPICS[wait]
    assert (emit.key, emit.event, emit.request) == (
        event.request.request_id,
        event,
        event.request,
    )
    assert emit.delay == Delay(due_ms=NOW_MS + DELAYS_MS[wait], turns=turns + 1)
    assert emit.partition is None


@pytest.mark.parametrize(
    ("priority", "deadline_in_ms"), [(0, 60_000), (0, 0), (1, DELAYS_MS[0]), (2, 100)]
)
def test_users_and_those_whose_deadline_comes_first_are_refused(
    priority: int, deadline_in_ms: int
) -> None:
    """Whoever cannot wait is not put off."""
    deadline_at = NOW_MS + deadline_in_ms if deadline_in_ms else 0
    event = member(priority=priority, deadline_at=deadline_at)
    assert next_turn(event, headers={}, now_ms=float(NOW_MS)) is None


def test_background_work_without_a_deadline_can_always_wait() -> None:
    """A deadline of 0 is none."""
    emit = next_turn(member(priority=2, deadline_at=0), headers={}, now_ms=NOW_MS)
    assert emit is not None


def test_what_was_called_already_ends_as_its_last_call_did() -> None:
    """Only a request for which nothing was called is put off."""
    last = failure("provider_timeout", "Late.")
    options = {"has_calls": True, "remaining_ms": 1.0}
    assert final_error(SHUT, last, **options) == last.error  # type: ignore[arg-type]
    assert final_error(SHUT, None, **options) == shut_error(SHUT)  # type: ignore[arg-type]
    assert final_error(SHUT, None, has_calls=False, remaining_ms=1.0) is None
    expired = final_error(SHUT, last, has_calls=True, remaining_ms=0.0)
    assert expired is not None
    assert expired.code == "deadline_exceeded"


def test_it_comes_back_as_a_batch_of_one() -> None:
    """The same request, in its lane."""
    event = member(3)
    batch = batch_of_one(event)
    assert batch.members == (event,)
    assert (batch.lane, batch.merge) == (event.lane, False)
    assert batch.batch_id == f"batch_{event.request.request_id}"
