"""What becomes of requests whose call may not start."""

from typing import Any

import msgspec
import pytest

from services.model_caller.decide import failure
from services.model_caller.put_off import (
    DELAYS_MS,
    batch_of_one,
    final_error,
    may_come_again,
    next_turn,
    pause_after,
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


@pytest.mark.parametrize(
    ("pause_ms", "wait"),
    [(2_001, 0), (5_000, 0), (5_001, 1), (30_000, 1), (30_001, 2), (300_000, 2), (900_000, 2)],
)
def test_who_was_told_how_long_to_wait_waits_that_long(pause_ms: int, wait: int) -> None:
    """In the first topic that is slow enough, or in the slowest, whatever turn it is."""
    emit = next_turn(
        member(priority=2, deadline_at=NOW_MS + 86_400_000),
        headers={RETRY_TURNS: (1).to_bytes(4, "big")},
        now_ms=NOW_MS,
        attempts=3,
        pause_ms=pause_ms,
    )
    assert emit is not None
    assert emit.topic == RETRY_TOPICS[wait]
    assert emit.delay == Delay(due_ms=NOW_MS + DELAYS_MS[wait], turns=2, attempts=3)


@pytest.mark.parametrize(
    ("pause_ms", "left_ms", "waits"),
    [
        pytest.param(20_000, 30_001, True, id="in time"),
        pytest.param(20_000, 30_000, False, id="its topic is too slow"),
        pytest.param(900_000, 600_000, False, id="the pause is longer than the deadline allows"),
    ],
)
def test_a_pause_beyond_the_deadline_is_not_waited_for(
    pause_ms: int, left_ms: int, *, waits: bool
) -> None:
    """The caller is told at once."""
    event = member(priority=1, deadline_at=NOW_MS + left_ms)
    emit = next_turn(event, headers={}, now_ms=float(NOW_MS), attempts=1, pause_ms=pause_ms)
    assert (emit is not None) is waits


BUSY = failure("provider_rate_limited", "Busy.")


@pytest.mark.parametrize(
    ("changes", "pause_ms", "again"),
    [
        pytest.param({"retry_after_ms": 2_000}, 0, True, id="short: waited for here"),
        pytest.param({"retry_after_ms": 2_001}, 2_001, True, id="long"),
        pytest.param({"retry_after_ms": 60_000, "has_output": True}, 0, False, id="output"),
        pytest.param({"retry_after_ms": 60_000, "is_retriable": False}, 0, False, id="quota"),
    ],
)
def test_only_what_may_be_repeated_comes_again(
    changes: dict[str, Any], pause_ms: int, *, again: bool
) -> None:
    """After output, or an error that time does not mend, there is no later call."""
    failed = msgspec.structs.replace(BUSY, **changes)
    assert pause_after(failed) == pause_ms
    assert may_come_again(failed) is again


def test_what_speaks_for_no_later_call_is_how_the_last_one_ended() -> None:
    """Without a call nothing speaks against one."""
    assert may_come_again(None)
    assert final_error(SHUT, BUSY, remaining_ms=1.0) == BUSY.error
    assert final_error(SHUT, None, remaining_ms=1.0) == shut_error(SHUT)
    assert final_error(SHUT, BUSY, remaining_ms=0.0).code == "deadline_exceeded"


def test_it_comes_back_as_a_batch_of_one() -> None:
    """The same request, in its lane."""
    event = member(3)
    batch = batch_of_one(event)
    assert batch.members == (event,)
    assert (batch.lane, batch.merge) == (event.lane, False)
    assert batch.batch_id == f"batch_{event.request.request_id}"
