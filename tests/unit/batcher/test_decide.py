"""When windows open, grow and close."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.batcher.decide import (
    DEADLINE_MARGIN_MS,
    LaneGain,
    Window,
    by_deadline,
    closed_by_time,
    fits,
    full_by,
    joined,
    lane_of,
    learned,
    opened,
    should_wait,
)
from services.shared.domain.configuration import BatchWindow
from services.shared.domain.events import RequestRouted
from tests.support.example_events import requested, routed

NOW_MS = 1_790_000_000_000.0
POLICY = BatchWindow(window_ms=5, max_count=4, max_tokens=100, max_bytes=1000)


def going(
    *, tokens: int = 10, size_bytes: int = 100, deadline_at: int = 0, tenant: str = "acme"
) -> RequestRouted:
    """A routed request of this size."""
    request = requested(
        body=b"x" * size_bytes,
        estimated_input_tokens=tokens,
        deadline_at=deadline_at,
        tenant=tenant,
    )
    return routed(request=request)


def window_of(*members: RequestRouted) -> Window:
    """A window with these in it."""
    window = opened(POLICY, now_ms=NOW_MS)
    for member in members:
        joined(window, member)
    return window


def test_a_window_closes_after_its_time() -> None:
    """Without deadlines, the policy's time after its first request."""
    window = window_of(going(), going())
    assert (window.opened_at_ms, window.close_at_ms) == (NOW_MS, NOW_MS + 5)
    assert closed_by_time(window, POLICY) == "time"


@pytest.mark.parametrize(
    ("ahead_ms", "close_after_ms", "by"),
    [
        pytest.param(60_000, 5, "time", id="far"),
        pytest.param(DEADLINE_MARGIN_MS + 3, 3, "deadline", id="near"),
        pytest.param(DEADLINE_MARGIN_MS + 5, 5, "time", id="just_far_enough"),
        pytest.param(10, 0, "deadline", id="too_near_to_wait"),
        pytest.param(-10, 0, "deadline", id="past"),
    ],
)
def test_the_earliest_deadline_closes_a_window_in_time(
    ahead_ms: float, close_after_ms: float, by: str
) -> None:
    """With a margin for the call, and never before the window opened."""
    near = going(deadline_at=int(NOW_MS + ahead_ms))
    window = window_of(going(), near, going(deadline_at=int(NOW_MS) + 60_000))
    assert window.close_at_ms == NOW_MS + close_after_ms
    assert closed_by_time(window, POLICY) == by


@pytest.mark.parametrize(
    ("members", "candidate", "expected"),
    [
        pytest.param([], going(tokens=10**6, size_bytes=10**4), True, id="alone_always"),
        pytest.param([going()], going(tokens=90, size_bytes=900), True, id="exactly"),
        pytest.param([going()], going(tokens=91), False, id="too_many_tokens"),
        pytest.param([going()], going(size_bytes=901), False, id="too_many_bytes"),
    ],
)
def test_which_request_may_join(
    *, members: list[RequestRouted], candidate: RequestRouted, expected: bool
) -> None:
    """Whoever keeps the window within its bounds; the first always."""
    assert fits(window_of(*members), candidate, POLICY) is expected


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        pytest.param([going()] * 3, None, id="room"),
        pytest.param([going()] * 4, "count", id="count"),
        pytest.param([going(tokens=100)], "tokens", id="tokens"),
        pytest.param([going(size_bytes=1000)], "bytes", id="bytes"),
        pytest.param([], None, id="empty"),
    ],
)
def test_what_fills_a_window(members: list[RequestRouted], expected: str | None) -> None:
    """Count, tokens or bytes, whichever is reached."""
    assert full_by(window_of(*members), POLICY) == expected


@given(
    st.lists(
        st.tuples(st.integers(0, 150), st.integers(0, 1500), st.integers(-100, 10_000)),
        max_size=12,
    )
)
def test_no_window_exceeds_its_bounds_or_a_deadline(sizes: list[tuple[int, int, int]]) -> None:
    """Filled by the rules, only a lone request may be too large; no window outlasts a deadline."""
    window = opened(POLICY, now_ms=NOW_MS)
    for tokens, size_bytes, ahead_ms in sizes:
        member = going(tokens=tokens, size_bytes=size_bytes, deadline_at=int(NOW_MS) + ahead_ms)
        if not fits(window, member, POLICY) or full_by(window, POLICY):
            continue
        joined(window, member)
        latest_ms = max(NOW_MS, NOW_MS + ahead_ms - DEADLINE_MARGIN_MS)
        assert NOW_MS <= window.close_at_ms <= latest_ms
    assert window.count <= POLICY.max_count
    if window.count > 1:
        assert window.tokens <= POLICY.max_tokens
        assert window.size_bytes <= POLICY.max_bytes


def waited(lane: LaneGain, *, count: int, first: int = 1) -> None:
    """A window was held open and held so many at its end."""
    window = Window(NOW_MS, NOW_MS + 5, count=count, first_count=first)
    learned(lane, window, waited=True)


def skipped(lane: LaneGain, *, count: int = 1) -> None:
    """A window left at once."""
    learned(lane, Window(NOW_MS, NOW_MS, count=count, first_count=count), waited=False)


def test_a_lane_that_gains_nothing_stops_waiting() -> None:
    """After some windows of one request each, a lone request leaves at once."""
    lane = LaneGain()
    windows = 0
    while should_wait(lane, POLICY):
        waited(lane, count=1)
        windows += 1
    assert 2 <= windows <= 12


def test_a_lane_that_gains_goes_on_waiting() -> None:
    """As long as others join, windows are held open."""
    lane = LaneGain()
    for _ in range(100):
        waited(lane, count=3)
        assert should_wait(lane, POLICY)


def test_a_poll_s_own_requests_are_no_gain() -> None:
    """What came together would have left together: only later ones are worth the wait."""
    lane = LaneGain()
    for _ in range(20):
        waited(lane, count=8, first=8)
    assert not should_wait(lane, POLICY)


def test_a_lane_that_gave_up_is_tried_again() -> None:
    """Traffic may have grown: now and then a window waits, sooner where bursts come."""

    def windows_until_a_try(count: int) -> int:
        lane = LaneGain(gain=1.0)
        windows = 0
        while not should_wait(lane, POLICY):
            skipped(lane, count=count)
            windows += 1
        waited(lane, count=1)
        assert not should_wait(lane, POLICY)
        return windows

    assert windows_until_a_try(1) == 32
    assert windows_until_a_try(5) == 4


def test_a_window_of_no_time_never_waits() -> None:
    """Nought switches batching off."""
    assert not should_wait(LaneGain(), BatchWindow(window_ms=0))


def test_tenants_share_a_lane_only_where_they_may() -> None:
    """Otherwise the tenant is part of the lane."""
    member = going(tenant="acme")
    assert lane_of(member, mixes_tenants=True) == "simulator/small/chat"
    assert lane_of(member, mixes_tenants=False) == "simulator/small/chat/acme"


def test_members_are_called_by_urgency() -> None:
    """The nearest deadline first, none last."""
    members = [going(), going(deadline_at=9), going(deadline_at=3)]
    assert [member.request.deadline_at for member in by_deadline(members)] == [3, 9, 0]


@pytest.mark.parametrize(("since_ms", "waits"), [(0, True), (9, True), (11, False)])
def test_after_a_pause_there_is_nothing_to_wait_for(since_ms: float, *, waits: bool) -> None:
    """Requests that come further apart than windows are long do not meet."""
    policy = BatchWindow(window_ms=5)
    assert should_wait(LaneGain(), policy, since_ms=since_ms) is waits
