"""Token buckets."""

from hypothesis import given
from hypothesis import strategies as st

from services.model_caller.bucket import BURST_S, Bucket
from services.model_caller.buckets import Buckets, Reserved

NOW_MS = 1_780_000_000_000.0


def reserved(
    buckets: Buckets, tokens: int = 1, *, company: str | None = None, patience_ms: float = 0.0
) -> Reserved:
    """A call that may be made soon enough."""
    found = buckets.reserve(tokens, now_ms=NOW_MS, patience_ms=patience_ms, company=company)
    assert found is not None
    return found


def requests_left(buckets: Buckets) -> int:
    """How many calls may be made at once now; they are made."""
    left = 0
    while buckets.reserve(1, now_ms=NOW_MS, patience_ms=0) is not None:
        left += 1
    return left


def of_requests() -> Buckets:
    """A rate of five calls at once, and one a second."""
    return Buckets(requests_per_minute=60, tokens_per_minute=0)


def test_no_rate_never_waits() -> None:
    """Zero is no limit."""
    bucket = Bucket(0)
    bucket.take(1e9)
    assert bucket.wait_ms(1e9, now_ms=NOW_MS) == 0


def test_a_burst_passes_and_then_the_rate_holds() -> None:
    """Sixty a minute: five at once, then one a second."""
    bucket = Bucket(60)
    for _ in range(int(BURST_S)):
        assert bucket.wait_ms(1, now_ms=NOW_MS) == 0
        bucket.take(1)
    assert bucket.wait_ms(1, now_ms=NOW_MS) == 1000
    assert bucket.wait_ms(1, now_ms=NOW_MS + 400) == 600


def test_time_that_runs_backwards_adds_nothing() -> None:
    """A clock that is set back neither fills a bucket nor empties it."""
    bucket = Bucket(60)
    bucket.wait_ms(1, now_ms=NOW_MS)
    bucket.take(5)
    assert bucket.wait_ms(1, now_ms=NOW_MS - 9_000) == 1000


def test_a_call_larger_than_the_bucket_needs_a_full_one() -> None:
    """It is not kept out for ever; what follows pays for it."""
    bucket = Bucket(600)  # holds 50
    assert bucket.wait_ms(80, now_ms=NOW_MS) == 0
    bucket.take(80)
    assert bucket.wait_ms(1, now_ms=NOW_MS) == 3_100
    assert bucket.wait_ms(80, now_ms=NOW_MS) == 8_000


def test_both_rates_count_and_a_refusal_takes_nothing() -> None:
    """The longer wait is the wait."""
    buckets = Buckets(requests_per_minute=600, tokens_per_minute=6_000)  # 50 calls, 500 tokens
    assert reserved(buckets, 500).wait_ms == 0
    assert buckets.reserve(100, now_ms=NOW_MS, patience_ms=999) is None
    waiting = reserved(buckets, 100, patience_ms=1_000)
    assert waiting.wait_ms == 1_000
    assert buckets.wait_ms(100, now_ms=NOW_MS) == 2_000
    buckets.cancel(waiting)
    assert buckets.wait_ms(100, now_ms=NOW_MS) == 1_000


def test_what_was_reserved_and_not_used_is_given_back() -> None:
    """And what was used beyond it is taken."""
    buckets = Buckets(requests_per_minute=0, tokens_per_minute=6_000)
    reserved(buckets, 500)
    buckets.settle(reserved=500, used=100)
    assert reserved(buckets, 400).wait_ms == 0
    buckets.settle(reserved=400, used=500)
    assert buckets.wait_ms(100, now_ms=NOW_MS) == 2_000


def test_those_who_share_a_call_take_one_request() -> None:
    """Whoever comes before it is made rides along; who comes later takes one of his own."""
    buckets = of_requests()
    first, second = reserved(buckets, company="us"), reserved(buckets, company="us")
    first.turn.make()
    reserved(buckets, company="us").turn.make()
    second.turn.leave()
    assert requests_left(buckets) == 3


def test_others_do_not_ride_along() -> None:
    """Neither another company, nor those who are called alone."""
    buckets = of_requests()
    for company in ("us", "them", None, None):
        reserved(buckets, company=company)
    assert requests_left(buckets) == 1


def test_each_call_more_than_the_shared_one_takes_a_request() -> None:
    """What did not fit into it, or is asked for apart after it."""
    buckets = of_requests()
    several = [reserved(buckets, company="us") for _ in range(3)]
    for it in several:
        it.turn.make()
    assert requests_left(buckets) == 2


def test_a_place_is_given_back_when_all_have_left_it() -> None:
    """Not when the first does; and what was taken for a call is not given back after it."""
    buckets = of_requests()
    first, second = reserved(buckets, company="us"), reserved(buckets, company="us")
    buckets.cancel(first)
    third = reserved(buckets, company="us")
    assert third.turn is second.turn
    buckets.cancel(second)
    buckets.cancel(third)
    made = reserved(buckets, company="us")
    made.turn.make()
    made.turn.leave()
    assert requests_left(buckets) == 4


def test_a_late_one_in_an_old_place_does_not_end_the_next_one() -> None:
    """The place that was spent is not the one that others ride on now."""
    buckets = of_requests()
    old, late = reserved(buckets, company="us"), reserved(buckets, company="us")
    old.turn.make()
    new = reserved(buckets, company="us")
    late.turn.make()
    assert reserved(buckets, company="us").turn is new.turn
    assert requests_left(buckets) == 2


def test_who_rides_along_waits_for_the_same_time() -> None:
    """A place that is not ready yet is waited for by all, and refused to the impatient."""
    buckets = of_requests()
    for _ in range(5):
        reserved(buckets)
    waits = [reserved(buckets, company="us", patience_ms=1_000).wait_ms for _ in range(2)]
    assert waits == [1_000, 1_000]
    assert buckets.reserve(1, now_ms=NOW_MS, patience_ms=999, company="us") is None
    later = buckets.reserve(1, now_ms=NOW_MS + 2_000, patience_ms=0, company="us")
    assert later is not None
    assert later.wait_ms == 0


@given(
    per_minute=st.integers(1, 10_000),
    gaps=st.lists(st.floats(min_value=0, max_value=500), max_size=200),
)
def test_never_more_than_the_burst_and_the_rate(per_minute: int, gaps: list[float]) -> None:
    """However calls come, those let through in any time from the start keep to the rate."""
    buckets = Buckets(requests_per_minute=per_minute, tokens_per_minute=0)
    burst = max(1.0, per_minute / 60 * BURST_S)
    now_ms, passed = NOW_MS, 0
    for gap_ms in gaps:
        now_ms += gap_ms
        passed += buckets.reserve(1, now_ms=now_ms, patience_ms=0) is not None
        assert passed <= burst + per_minute * (now_ms - NOW_MS) / 60_000 + 1e-3
