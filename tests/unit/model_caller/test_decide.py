"""What follows from a failed call."""

import email.utils
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.model_caller.decide import (
    MAX_PAUSE_MS,
    MAX_WAIT_FOR_PROVIDER_MS,
    CallFailed,
    Fallback,
    GiveUp,
    Retry,
    RetryBudget,
    failure,
    failure_from_status,
    is_of_one_member,
    next_step,
    retry_after_ms,
)
from services.shared.domain.configuration import Retries
from services.shared.domain.errors import ERRORS, PublicError

NOW_MS = 1_790_000_000_000.0
POLICY = Retries(max_attempts=3, backoff_base_ms=200, backoff_max_ms=5_000)


def call_failed(
    *,
    is_retriable: bool = True,
    is_this_target_only: bool = True,
    pause_ms: int = 0,
    has_output: bool = False,
) -> CallFailed:
    """A failure of these properties."""
    return CallFailed(
        error=PublicError(code="provider_error", message="It failed."),
        is_retriable=is_retriable,
        is_this_target_only=is_this_target_only,
        retry_after_ms=pause_ms,
        has_output=has_output,
    )


def step(
    failed: CallFailed,
    *,
    attempts_made: int = 1,
    targets_left: int = 0,
    budget_left: bool = True,
    is_believed: bool = True,
    remaining_ms: float = 60_000,
    jitter: float = 0.0,
) -> Retry | Fallback | GiveUp:
    """What follows, with all that is usual left out."""
    return next_step(
        failed,
        policy=POLICY,
        attempts_made=attempts_made,
        targets_left=targets_left,
        budget_left=budget_left,
        is_believed=is_believed,
        remaining_ms=remaining_ms,
        jitter=jitter,
    )


@pytest.mark.parametrize(
    ("failed", "circumstances", "expected"),
    [
        pytest.param(call_failed(), {}, Retry(100.0), id="first_failure"),
        pytest.param(call_failed(), {"jitter": 0.5}, Retry(150.0), id="with_jitter"),
        pytest.param(call_failed(), {"attempts_made": 2}, Retry(200.0), id="doubled"),
        pytest.param(call_failed(), {"attempts_made": 3}, GiveUp, id="attempts_used_up"),
        pytest.param(call_failed(), {"budget_left": False}, GiveUp, id="budget_used_up"),
        pytest.param(
            call_failed(),
            {"budget_left": False, "targets_left": 1},
            Fallback(),
            id="the_next_target_needs_no_budget",
        ),
        pytest.param(
            call_failed(),
            {"is_believed": False, "targets_left": 1},
            GiveUp,
            id="others_may_call_by_now",
        ),
        pytest.param(call_failed(), {"targets_left": 1}, Retry(100.0), id="same_target_once_more"),
        pytest.param(
            call_failed(), {"targets_left": 1, "attempts_made": 2}, Fallback(), id="then_the_next"
        ),
        pytest.param(
            call_failed(is_retriable=False), {"targets_left": 1}, Fallback(), id="next_at_once"
        ),
        pytest.param(call_failed(is_retriable=False), {}, GiveUp, id="no_other_target"),
        pytest.param(
            call_failed(is_retriable=False, is_this_target_only=False),
            {"targets_left": 1},
            GiveUp,
            id="the_request_is_at_fault",
        ),
        pytest.param(
            call_failed(has_output=True), {"targets_left": 1}, GiveUp, id="output_was_seen"
        ),
        pytest.param(call_failed(pause_ms=1_500), {}, Retry(1_500.0), id="obeys_retry_after"),
        pytest.param(call_failed(pause_ms=50), {}, Retry(100.0), id="but_backs_off_at_least"),
        pytest.param(
            call_failed(pause_ms=MAX_WAIT_FOR_PROVIDER_MS), {}, Retry(2_000.0), id="longest_wait"
        ),
        pytest.param(
            call_failed(pause_ms=MAX_WAIT_FOR_PROVIDER_MS + 1), {}, GiveUp, id="too_long_a_wait"
        ),
        pytest.param(
            call_failed(pause_ms=60_000), {"targets_left": 1}, Fallback(), id="somewhere_else_now"
        ),
        pytest.param(call_failed(), {"remaining_ms": 100.0}, GiveUp, id="no_time_left"),
        pytest.param(call_failed(), {"remaining_ms": 100.1}, Retry(100.0), id="just_enough_time"),
        pytest.param(
            call_failed(),
            {"remaining_ms": 10.0, "targets_left": 1},
            Fallback(),
            id="no_time_to_wait_but_to_call",
        ),
    ],
)
def test_what_follows_a_failed_call(
    failed: CallFailed, circumstances: dict[str, float], expected: Retry | Fallback | type[GiveUp]
) -> None:
    """Repeat the same target, go to the next one, or end, as the table says."""
    followed = step(failed, **circumstances)  # type: ignore[arg-type]  # one value type for all
    assert followed == (GiveUp(failed.error) if expected is GiveUp else expected)


@given(
    attempts_made=st.integers(1, 10),
    targets_left=st.integers(0, 3),
    remaining_ms=st.floats(0, 1e6),
    jitter=st.floats(0, 1, exclude_max=True),
    pause_ms=st.integers(0, 10_000),
    has_output=st.booleans(),
    is_retriable=st.booleans(),
)
def test_nothing_is_repeated_that_must_not_be(
    *,
    attempts_made: int,
    targets_left: int,
    remaining_ms: float,
    jitter: float,
    pause_ms: int,
    has_output: bool,
    is_retriable: bool,
) -> None:
    """After output nothing is; waits fit into the time left; a fallback has somewhere to go."""
    followed = step(
        call_failed(pause_ms=pause_ms, has_output=has_output, is_retriable=is_retriable),
        attempts_made=attempts_made,
        targets_left=targets_left,
        remaining_ms=remaining_ms,
        jitter=jitter,
    )
    if has_output or attempts_made >= POLICY.max_attempts:
        assert isinstance(followed, GiveUp)
    if isinstance(followed, Retry):
        assert is_retriable
        assert pause_ms <= followed.wait_ms < remaining_ms
    if isinstance(followed, Fallback):
        assert targets_left > 0


@pytest.mark.parametrize(
    ("headers", "expected_ms"),
    [
        pytest.param({}, 0, id="none"),
        pytest.param({"retry-after": "2"}, 2_000, id="seconds"),
        pytest.param({"retry-after": " 0.5 "}, 500, id="part_of_a_second"),
        pytest.param({"retry-after-ms": "120"}, 120, id="ms"),
        pytest.param({"retry-after-ms": "120", "retry-after": "9"}, 120, id="ms_first"),
        pytest.param({"retry-after-ms": "soon", "retry-after": "9"}, 9_000, id="bad_ms"),
        pytest.param({"retry-after": "-3"}, 0, id="in_the_past"),
        pytest.param({"retry-after": "soon"}, 0, id="no_number"),
        pytest.param({"retry-after": "nan"}, 0, id="not_a_number"),
        pytest.param({"retry-after": "inf"}, 0, id="never"),
        pytest.param({"retry-after": "1e300"}, MAX_PAUSE_MS, id="capped"),
    ],
)
def test_pause_is_read_from_headers(headers: dict[str, str], expected_ms: int) -> None:
    """``retry-after-ms`` before ``retry-after``; what cannot be read is no pause."""
    assert retry_after_ms(headers, now_ms=NOW_MS) == expected_ms


@pytest.mark.parametrize("usegmt", [True, False])
@pytest.mark.parametrize(
    ("ahead_s", "expected_ms"), [(30, 30_000), (-30, 0), (10**6, MAX_PAUSE_MS)]
)
def test_pause_is_read_from_a_date(
    *,
    ahead_s: int,
    expected_ms: int,
    usegmt: bool,
) -> None:
    """An HTTP date counts from now, in UTC whatever the machine's zone; one gone by is none."""
    at = datetime.fromtimestamp(NOW_MS / 1000 + ahead_s, tz=UTC)
    text = email.utils.format_datetime(at, usegmt=usegmt).replace("+0000", "-0000")
    assert retry_after_ms({"retry-after": text}, now_ms=NOW_MS) == expected_ms


@given(st.text(max_size=40))
def test_no_pause_text_breaks_the_reader(text: str) -> None:
    """Any header value gives a pause within its bounds."""
    headers = {"retry-after-ms": text, "retry-after": text}
    assert 0 <= retry_after_ms(headers, now_ms=NOW_MS) <= MAX_PAUSE_MS


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        pytest.param(429, "", ("provider_rate_limited", True, True), id="rate_limited"),
        pytest.param(
            429, "insufficient_quota", ("provider_rate_limited", False, True), id="no_quota"
        ),
        pytest.param(401, "", ("provider_authentication", False, True), id="bad_key"),
        pytest.param(403, "", ("provider_authentication", False, True), id="forbidden"),
        pytest.param(404, "", ("provider_model_not_found", False, True), id="unknown_model"),
        pytest.param(400, "content_filter", ("content_filter", False, False), id="filtered"),
        pytest.param(
            400, "content_policy_violation", ("content_filter", False, False), id="policy"
        ),
        pytest.param(
            400,
            "context_length_exceeded",
            ("context_length_exceeded", False, True),
            id="too_long_for_this_target",
        ),
        pytest.param(408, "", ("provider_error", True, True), id="request_timeout"),
        pytest.param(409, "", ("provider_error", True, True), id="conflict"),
        pytest.param(500, "", ("provider_error", True, True), id="broken"),
        pytest.param(503, "", ("provider_overloaded", True, True), id="overloaded"),
        pytest.param(529, "", ("provider_overloaded", True, True), id="overloaded_otherwise"),
        pytest.param(400, "", ("provider_rejected", False, False), id="bad_request"),
        pytest.param(422, "x", ("provider_rejected", False, False), id="unprocessable"),
        pytest.param(204, "", ("provider_malformed", False, True), id="no_content"),
        pytest.param(302, "", ("provider_malformed", False, True), id="redirect"),
    ],
)
def test_error_answers_are_read(status: int, code: str, expected: tuple[str, bool, bool]) -> None:
    """Status and code decide the public code, whether to repeat, and whether to go elsewhere."""
    failed = failure_from_status(status, message="Their words.", code=code, param="p", pause_ms=7)
    assert (failed.error.code, failed.is_retriable, failed.is_this_target_only) == expected
    assert (failed.error.param, failed.error.retry_after_ms) == ("p", 7)
    assert failed.error.upstream_status == status


@given(st.integers(100, 599), st.text(max_size=20))
def test_every_status_has_a_public_error(status: int, code: str) -> None:
    """Whatever a provider answers, callers get a code that is documented."""
    failed = failure_from_status(status, message="", code=code, param="", pause_ms=0)
    assert failed.error.code in ERRORS


def test_a_failure_without_a_status_may_be_repeated() -> None:
    """Connections, time and bytes may be better the next time."""
    failed = failure("provider_timeout", "It did not answer.", has_output=True)
    assert failed.is_retriable
    assert failed.has_output
    assert failed.error.upstream_status == 0


@pytest.mark.parametrize(
    ("failed", "expected"),
    [
        pytest.param(call_failed(is_this_target_only=False), True, id="the_request_is_at_fault"),
        pytest.param(failure("provider_malformed", ""), True, id="half_an_answer"),
        pytest.param(call_failed(), False, id="the_provider_is_at_fault"),
        pytest.param(failure("provider_timeout", ""), False, id="slow"),
    ],
)
def test_which_merged_calls_are_taken_apart(*, failed: CallFailed, expected: bool) -> None:
    """Those that one member may have spoilt; a provider that is down is not asked for each."""
    assert is_of_one_member(failed) is expected


def used_up_at_1000_s(*, ratio: float) -> RetryBudget:
    """A budget that had two repetitions left."""
    budget = RetryBudget(ratio=ratio, allowance=2.0)
    budget.first_call(now_s=1000.0)
    budget.repeat(now_s=1000.0)
    budget.repeat(now_s=1000.0)
    return budget


def test_budget_bounds_repetitions() -> None:
    """A quiet process has its allowance; after that each first call earns a share."""
    budget = used_up_at_1000_s(ratio=0.25)
    assert budget.left(now_s=1000.0) == 0
    for _ in range(3):
        budget.first_call(now_s=1000.0)
    assert budget.left(now_s=1000.0) == 0.75
    budget.first_call(now_s=1000.0)
    assert budget.left(now_s=1000.0) == 1


def test_time_gives_the_allowance_back_and_no_more() -> None:
    """Where few requests come, waiting is enough, and their share is not added to it."""
    budget = used_up_at_1000_s(ratio=0.1)
    assert budget.left(now_s=1001.0) == 0.5
    budget.first_call(now_s=1001.0)
    assert budget.left(now_s=1001.0) == 0.5
    assert budget.left(now_s=9000.0) == 2
    budget.repeat(now_s=9000.0)
    assert budget.left(now_s=9000.0) == 1
    budget.first_call(now_s=9000.0)
    assert budget.left(now_s=9000.0) == 1


@given(st.lists(st.sampled_from(["first", "repeat", "wait"]), max_size=300), st.floats(0, 1))
def test_budget_is_never_overspent(events: list[str], ratio: float) -> None:
    """Repetitions stay within the allowance, the share of first calls, and the time's."""
    budget = RetryBudget(ratio=ratio, allowance=10.0)
    budget.first_call(now_s=1000.0)
    first, repeated, waited_s = 0, 0, 0.0
    for event in events:
        now_s = 1000.0 + waited_s
        if event == "first":
            budget.first_call(now_s=now_s)
            first += 1
        elif event == "wait":
            waited_s += 0.75
        elif budget.left(now_s=now_s) >= 1:
            budget.repeat(now_s=now_s)
            repeated += 1
    assert repeated <= 10.0 + ratio * first + RetryBudget.EARNED_PER_S * waited_s + 1e-6
