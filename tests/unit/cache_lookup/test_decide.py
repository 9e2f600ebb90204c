"""Whether a request is looked up, and whether what was found may be served."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.cache_lookup.decide import (
    BYPASS,
    MISS,
    Ended,
    Hit,
    NoHit,
    is_expired,
    is_looked_up,
    judge,
)
from services.shared.domain.events import CacheEntry, CachePolicy
from tests.support.example_events import requested

NOW_MS = 1_790_000_000_000.0
HASH = f"{1:064x}"


def entry(*, age_ms: float = 5_000, **changes: Any) -> CacheEntry:
    """An entry for the example's request."""
    fields = {
        "fingerprint": HASH,
        "tenant": "acme",
        "request_id": "req_source",
        "operation": "chat",
        "response": b"{}",
        "stored_at": int(NOW_MS - age_ms),
    }
    return CacheEntry(**{**fields, **changes})


@pytest.mark.parametrize(
    ("changes", "ttl_s", "expected"),
    [
        pytest.param({}, 60, True, id="usual"),
        pytest.param({}, 0, False, id="never_kept"),
        pytest.param({"cache_policy": CachePolicy(no_cache=True)}, 60, False, id="no_cache"),
        pytest.param({"cache_policy": CachePolicy(no_store=True)}, 60, True, id="no_store"),
        pytest.param({"fingerprint": ""}, 60, False, id="no_fingerprint"),
    ],
)
def test_who_is_looked_up(*, changes: dict[str, Any], ttl_s: int, expected: bool) -> None:
    """Whoever may be answered from the cache at all."""
    assert is_looked_up(requested(**changes), ttl_s=ttl_s) is expected


@pytest.mark.parametrize(
    ("age_ms", "ttl_s", "max_age_s", "age_s"),
    [
        pytest.param(0, 60, -1, 0, id="fresh"),
        pytest.param(59_999, 60, -1, 59, id="nearly_old"),
        pytest.param(60_999, 60, -1, 60, id="as_old_as_may_be"),
        pytest.param(61_000, 60, -1, None, id="too_old"),
        pytest.param(10_999, 60, 10, 10, id="as_the_caller_wants"),
        pytest.param(11_000, 60, 10, None, id="older_than_the_caller_wants"),
        pytest.param(500, 60, 0, 0, id="this_second"),
        pytest.param(1_000, 60, 0, None, id="last_second"),
        pytest.param(-5_000, 60, 0, 0, id="a_clock_ahead"),
        pytest.param(100, 0, -1, 0, id="configuration_changed"),
    ],
)
def test_entries_are_served_up_to_their_age(
    age_ms: float, ttl_s: int, max_age_s: int, age_s: int | None
) -> None:
    """The configured time and the caller's wish both bound it, in whole seconds."""
    request = requested(cache_policy=CachePolicy(max_age_s=max_age_s))
    verdict = judge(request, entry(age_ms=age_ms), ttl_s=ttl_s, now_ms=NOW_MS)
    if age_s is None:
        assert verdict == MISS
    else:
        assert isinstance(verdict, Hit)
        evidence = verdict.evidence
        assert (evidence.outcome, evidence.age_s) == ("exact_hit", age_s)
        assert evidence.source_request_id == "req_source"


@pytest.mark.parametrize(
    "change", [{"tenant": "other"}, {"fingerprint": "f" * 64}, {"operation": "embeddings"}]
)
def test_nobody_is_served_another_s_answer(change: dict[str, str]) -> None:
    """Whatever a store mixes up; and somebody hears of it."""
    verdict = judge(requested(), entry(age_ms=0, **change), ttl_s=60, now_ms=NOW_MS)
    assert isinstance(verdict, NoHit)
    assert verdict.is_foreign
    assert verdict.evidence.outcome == "miss"


def test_a_miss_and_a_bypass_tell_themselves_apart() -> None:
    """The caller reads which it was."""
    assert (MISS.evidence.outcome, BYPASS.evidence.outcome) == ("miss", "bypass")
    assert not MISS.is_foreign


@given(st.integers(-10, 10))
def test_a_deadline_is_over_when_it_has_come(ahead_ms: int) -> None:
    """At the deadline the answer is worthless; without one it never is."""
    request = requested(deadline_at=int(NOW_MS) + ahead_ms)
    assert is_expired(request, now_ms=NOW_MS) == (ahead_ms <= 0)
    assert not is_expired(requested(deadline_at=0), now_ms=NOW_MS)


def test_a_requests_own_answer_is_no_hit() -> None:
    """However old it is."""
    request = requested()
    own = entry(age_ms=3_600_000, request_id=request.request_id)
    assert judge(request, own, ttl_s=60, now_ms=NOW_MS) == Ended()
