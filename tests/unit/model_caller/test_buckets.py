"""Token buckets."""

from hypothesis import given
from hypothesis import strategies as st

from services.model_caller.buckets import BURST_S, Bucket, Buckets

NOW_MS = 1_780_000_000_000.0


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
    assert buckets.reserve(500, now_ms=NOW_MS, patience_ms=0) == 0
    assert buckets.reserve(100, now_ms=NOW_MS, patience_ms=999) is None
    assert buckets.reserve(100, now_ms=NOW_MS, patience_ms=1_000) == 1_000
    assert buckets.wait_ms(100, now_ms=NOW_MS) == 2_000
    buckets.cancel(100)
    assert buckets.wait_ms(100, now_ms=NOW_MS) == 1_000


def test_what_was_reserved_and_not_used_is_given_back() -> None:
    """And what was used beyond it is taken."""
    buckets = Buckets(requests_per_minute=0, tokens_per_minute=6_000)
    buckets.reserve(500, now_ms=NOW_MS, patience_ms=0)
    buckets.settle(reserved=500, used=100)
    assert buckets.reserve(400, now_ms=NOW_MS, patience_ms=0) == 0
    buckets.settle(reserved=400, used=500)
    assert buckets.wait_ms(100, now_ms=NOW_MS) == 2_000


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
