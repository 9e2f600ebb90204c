"""Rates and servers of a model, on a clock of the test's own."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.simulator.limits import (
    MAX_MODELS,
    MAX_PROMPTS,
    MAX_QUEUE_MS,
    Limits,
    Servers,
    TokenBucket,
    start_of,
)
from services.simulator.refusals import Refusal
from tests.unit.simulator.asks import known


@given(
    limit=st.integers(1, 600),
    gaps_ms=st.lists(st.floats(0, 5_000), max_size=200),
)
def test_bucket_admits_its_limit_and_what_refills(limit: int, gaps_ms: list[float]) -> None:
    """No more than the limit, and the limit for each minute that passed, is ever admitted."""
    bucket = TokenBucket(limit, now_ms=0)
    now_ms, admitted = 0.0, 0
    for gap_ms in gaps_ms:
        now_ms += gap_ms
        if bucket.wait_ms(1, now_ms) == 0:
            bucket.take(1)
            admitted += 1
    assert admitted <= limit + limit * now_ms / 60_000 + 1e-6


def test_bucket_says_when_to_come_back() -> None:
    """After the wait that it named, a call is admitted; before, it is not."""
    bucket = TokenBucket(60, now_ms=0)
    bucket.take(60)
    wait_ms = bucket.wait_ms(1, 0)
    assert wait_ms == 1_000
    assert bucket.wait_ms(1, 999) > 0
    assert bucket.wait_ms(1, 1_000) == 0
    assert bucket.full_in_ms(1_000) == 59_000


def test_call_beyond_the_whole_limit_waits_a_minute_at_most() -> None:
    """A call that no wait would admit is told a minute, not eternity."""
    assert TokenBucket(10, now_ms=0).wait_ms(1_000, 0) == 60_000


@given(
    count=st.integers(1, 4),
    arrivals=st.lists(st.tuples(st.floats(0, 50), st.floats(0.1, 100)), max_size=50),
)
def test_servers_never_work_on_more_calls_than_they_are(
    count: int, arrivals: list[tuple[float, float]]
) -> None:
    """At any start no more than ``count`` calls are being served, and none starts early."""
    servers = Servers(count)
    now_ms = 0.0
    served: list[tuple[float, float]] = []
    for gap_ms, service_ms in arrivals:
        now_ms += gap_ms
        start_ms = servers.reserve(now_ms, service_ms)
        assert start_ms is not None
        assert start_ms >= now_ms
        served.append((start_ms, start_ms + service_ms))
    for start_ms, _ in served:
        assert sum(begin <= start_ms < end for begin, end in served) <= count


def test_queue_longer_than_a_minute_is_refused() -> None:
    """A server's queue is bounded in time."""
    limits = Limits().of(known("sim-fast:parallel=1"), now_ms=0)
    first = start_of(limits, now_ms=0, service_ms=MAX_QUEUE_MS + 1)
    assert first == 0
    refused = start_of(limits, now_ms=0, service_ms=1)
    assert isinstance(refused, Refusal)
    assert (refused.status, refused.code) == (503, "server_is_overloaded")


def test_model_without_limits_starts_at_once() -> None:
    """A model without ``parallel`` queues nothing, with or without other limits."""
    assert Limits().of(known("sim-fast"), now_ms=0) is None
    assert start_of(None, now_ms=5, service_ms=100) == 5
    limits = Limits().of(known("sim-fast:rpm=5"), now_ms=0)
    assert start_of(limits, now_ms=5, service_ms=100) == 5


@pytest.mark.parametrize(("option", "what"), [("rpm=2", "requests"), ("tpm=20", "tokens")])
def test_limit_is_refused_with_its_headers(option: str, what: str) -> None:
    """Beyond its limit a call is 429 of that kind; headers name limit, rest and reset."""
    limits = Limits().of(known(f"sim-fast:{option}"), now_ms=0)
    assert limits is not None
    assert [limits.admit(10, now_ms=0) for _ in range(2)] == [None, None]
    refused = limits.admit(10, now_ms=0)
    assert isinstance(refused, Refusal)
    assert (refused.status, refused.type, refused.code) == (429, what, "rate_limit_exceeded")
    assert refused.retry_after is not None
    assert refused.retry_after.delay_ms == 30_000
    headers = dict(limits.headers(now_ms=0))
    name = what.encode()
    assert headers == {
        b"x-ratelimit-limit-" + name: b"2" if what == "requests" else b"20",
        b"x-ratelimit-remaining-" + name: b"0",
        b"x-ratelimit-reset-" + name: b"1m0s",
    }


def test_refused_call_takes_nothing() -> None:
    """A call that one limit refuses does not use up the other."""
    limits = Limits().of(known("sim-fast:rpm=2:tpm=20"), now_ms=0)
    assert limits is not None
    assert limits.admit(1_000, now_ms=0) is not None
    assert dict(limits.headers(now_ms=0))[b"x-ratelimit-remaining-requests"] == b"2"


@pytest.mark.parametrize(
    ("taken", "reset"), [(0, b"0ms"), (1, b"17ms"), (90, b"1.5s"), (3_600, b"1m0s")]
)
def test_reset_is_written_as_openai_does(taken: int, reset: bytes) -> None:
    """Durations are ms below a second, seconds below a minute, else minutes and seconds."""
    limits = Limits().of(known("sim-fast:tpm=3600"), now_ms=0)
    assert limits is not None
    limits.admit(taken, now_ms=0)
    assert dict(limits.headers(now_ms=0))[b"x-ratelimit-reset-tokens"] == reset


def test_limits_belong_to_the_whole_name() -> None:
    """Two names have two limits; one name has one, whoever asks."""
    limits = Limits()
    one = limits.of(known("sim-fast:rpm=2"), now_ms=0)
    assert limits.of(known("sim-fast:rpm=2"), now_ms=9) is one
    assert limits.of(known("sim-fast:rpm=2:echo"), now_ms=0) is not one


def test_names_and_prompts_that_are_kept_are_bounded() -> None:
    """The oldest name and the oldest prompt are forgotten beyond the bounds."""
    limits = Limits()
    first = limits.of(known("sim-fast:rpm=1"), now_ms=0)
    for number in range(2, MAX_MODELS + 2):
        limits.of(known(f"sim-fast:rpm={number}"), now_ms=0)
    assert limits.of(known("sim-fast:rpm=1"), now_ms=0) is not first
    failing = known("sim-fast:fail-first=1")
    assert [limits.count_call(failing, 0) for _ in range(3)] == [0, 1, 2]
    for seed in range(1, MAX_PROMPTS + 1):
        limits.count_call(failing, seed)
    assert limits.count_call(failing, 0) == 0


def test_prompts_are_counted_only_where_it_matters() -> None:
    """Models without ``fail-first`` count nothing."""
    limits = Limits()
    assert [limits.count_call(known("sim-fast"), 0) for _ in range(2)] == [0, 0]
