"""What a request adds to a window, and to which one."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.metrics_aggregator.decide import (
    BASE_S,
    MAX_AGE_MS,
    MAX_EARLY_MS,
    MAX_ERRORS,
    MAX_LABEL_CHARACTERS,
    MAX_SERVICES,
    MERGED_S,
    Placement,
    Policy,
    admit,
    dimensions_from,
    facts_from,
    fold,
    is_closed,
    place,
    window_start,
)
from services.shared.domain.errors import PoisonRecord
from services.shared.domain.events import CacheEvidence, Failure, Hop, InferenceFinished
from services.shared.domain.usage_windows import OTHER, Dimensions, Tally
from tests.support.terminals import CALL, JOURNEY, T0_MS, answered, failed, hit

GRACE_MS = 60_000
DIMENSIONS = Dimensions("acme", "small", "simulator", "sim-chat", "gold", "search", "chat")
OVERFLOW = Dimensions("acme", *(OTHER,) * 6)
ALL_OTHER = Dimensions(*(OTHER,) * 7)


def folded(*terminals: InferenceFinished) -> Tally:
    """A tally of these."""
    tally = Tally()
    for terminal in terminals:
        assert fold(tally, terminal, facts_from(terminal)) is tally
    return tally


# -- windows ---------------------------------------------------------------------------------------


@given(st.integers(min_value=0, max_value=2**45), st.sampled_from((BASE_S, *MERGED_S)))
def test_a_window_starts_at_a_whole_number_of_its_lengths(at_ms: int, size_s: int) -> None:
    """Property: windows of a length do not overlap and leave nothing out."""
    start_ms = window_start(at_ms, size_s)

    assert start_ms % (size_s * 1_000) == 0
    assert start_ms <= at_ms < start_ms + size_s * 1_000


@given(st.integers(min_value=0, max_value=2**45))
def test_a_longer_window_holds_whole_shorter_ones(at_ms: int) -> None:
    """Property: a 10-s window lies in one window of each longer length."""
    base_ms = window_start(at_ms, BASE_S)

    for size_s in MERGED_S:
        start_ms = window_start(base_ms, size_s)
        assert start_ms <= base_ms
        assert base_ms + BASE_S * 1_000 <= start_ms + size_s * 1_000


@given(st.integers(min_value=0, max_value=2**45), st.integers(min_value=0, max_value=2**45))
def test_nothing_is_placed_in_a_closed_window(finished_at: int, watermark_ms: int) -> None:
    """Property: whatever a record claims, its window is open, and the watermark never falls."""
    placed = place(finished_at, logged_at_ms=2**44, watermark_ms=watermark_ms, grace_ms=GRACE_MS)

    assert placed.watermark_ms >= watermark_ms
    assert placed.start_ms == window_start(placed.start_ms, BASE_S)
    for size_s in (BASE_S, *MERGED_S):
        start_ms = window_start(placed.start_ms, size_s)
        assert not is_closed(start_ms, size_s, watermark_ms=placed.watermark_ms, grace_ms=GRACE_MS)


@pytest.mark.parametrize(
    ("watermark_ms", "closed"),
    [
        pytest.param(T0_MS + 10_000, False, id="it-just-ended"),
        pytest.param(T0_MS + 10_000 + GRACE_MS - 1, False, id="within-grace"),
        pytest.param(T0_MS + 10_000 + GRACE_MS, True, id="grace-is-over"),
    ],
)
def test_a_window_waits_for_its_grace(watermark_ms: int, closed: bool) -> None:  # noqa: FBT001
    """A window takes requests until the partition's time is its grace beyond the end."""
    assert is_closed(T0_MS, BASE_S, watermark_ms=watermark_ms, grace_ms=GRACE_MS) is closed


@pytest.mark.parametrize(
    ("finished_at", "logged_at", "watermark_ms", "expected"),
    [
        pytest.param(
            T0_MS + 12_345,
            T0_MS + 12_400,
            T0_MS,
            Placement(T0_MS + 10_000, T0_MS + 12_345, is_late=False, is_early=False),
            id="as-it-says",
        ),
        pytest.param(
            T0_MS - 1,
            T0_MS + 5,
            T0_MS + 5,
            Placement(T0_MS - 10_000, T0_MS + 5, is_late=False, is_early=False),
            id="a-little-out-of-order",
        ),
        pytest.param(
            T0_MS + MAX_EARLY_MS,
            T0_MS,
            T0_MS,
            Placement(T0_MS + MAX_EARLY_MS, T0_MS, is_late=False, is_early=False),
            id="a-clock-that-runs-ahead-moves-no-watermark",
        ),
        pytest.param(
            4_102_444_800_000,
            T0_MS + 7,
            T0_MS,
            Placement(T0_MS, T0_MS + 7, is_late=False, is_early=True),
            id="year-2100",
        ),
        pytest.param(
            0,
            T0_MS + 7,
            0,
            Placement(T0_MS, T0_MS + 7, is_late=True, is_early=False),
            id="year-1970-comes-first",
        ),
        pytest.param(
            T0_MS - MAX_AGE_MS,
            T0_MS + GRACE_MS,
            T0_MS + GRACE_MS,
            Placement(T0_MS + GRACE_MS, T0_MS + GRACE_MS, is_late=True, is_early=False),
            id="a-day-and-more-on-its-way",
        ),
        pytest.param(
            T0_MS - 1,
            T0_MS + GRACE_MS,
            T0_MS + GRACE_MS,
            Placement(T0_MS, T0_MS + GRACE_MS, is_late=True, is_early=False),
            id="its-window-is-closed",
        ),
        pytest.param(
            -5,
            0,
            0,
            Placement(0, 0, is_late=False, is_early=False),
            id="before-the-epoch",
        ),
    ],
)
def test_times_are_believed_as_far_as_the_log_bears_them_out(
    finished_at: int, logged_at: int, watermark_ms: int, expected: Placement
) -> None:
    """Late and future times are counted in an open window, and said so."""
    placed = place(
        finished_at, logged_at_ms=logged_at, watermark_ms=watermark_ms, grace_ms=GRACE_MS
    )

    assert placed == expected


# -- dimensions ------------------------------------------------------------------------------------


def test_a_request_is_told_apart_by_who_asked_what_of_whom() -> None:
    """The provider is the one that was called last; a cache hit has none."""
    second = msgspec.structs.replace(CALL, provider="backup", model="b-1")

    assert dimensions_from(answered()) == DIMENSIONS
    assert dimensions_from(answered(calls=(CALL, second))).provider == "backup"
    assert dimensions_from(hit()) == DIMENSIONS._replace(provider="", provider_model="")


def test_labels_are_bounded() -> None:
    """A caller's text cannot make a key as long as it likes."""
    dimensions = dimensions_from(answered(feature="x" * 10_000))

    assert dimensions.feature == "x" * MAX_LABEL_CHARACTERS


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        pytest.param({}, DIMENSIONS, id="first-of-the-day"),
        pytest.param({"acme": {DIMENSIONS}}, DIMENSIONS, id="known"),
        pytest.param(
            {"acme": {DIMENSIONS._replace(feature="a")}}, DIMENSIONS, id="room-for-one-more"
        ),
        pytest.param(
            {"acme": {DIMENSIONS._replace(feature=f) for f in "ab"}}, OVERFLOW, id="too-many"
        ),
        pytest.param(
            {"acme": {DIMENSIONS, DIMENSIONS._replace(feature="a")}},
            DIMENSIONS,
            id="full-but-known",
        ),
        pytest.param(
            {"other-1": {DIMENSIONS}, "other-2": {DIMENSIONS}}, ALL_OTHER, id="too-many-tenants"
        ),
        pytest.param(
            {"acme": {DIMENSIONS._replace(feature="a")}, "other": set()},
            DIMENSIONS,
            id="a-known-tenant-among-too-many",
        ),
    ],
)
def test_series_are_bounded_tenant_by_tenant(
    known: dict[str, set[Dimensions]], expected: Dimensions
) -> None:
    """What is beyond the bound counts together; a tenant's own total stays right."""
    policy = Policy(max_series=2, max_tenants=2)

    assert admit(DIMENSIONS, known, policy) == expected


# -- folding ---------------------------------------------------------------------------------------


def test_an_answer_adds_its_tokens_cost_and_times() -> None:
    """Every value of the window, from one record."""
    tally = folded(answered())

    assert (tally.requests, tally.completed, tally.streams, tally.cache_misses) == (1, 1, 1, 1)
    assert (tally.model_calls, tally.failed_calls, tally.estimated_calls) == (1, 0, 0)
    assert (tally.input_tokens, tally.output_tokens) == (100, 40)
    assert (tally.cached_input_tokens, tally.reasoning_output_tokens) == (60, 8)
    assert tally.cost_nanousd == 1_234
    assert tally.errors == {}
    assert (tally.duration.total, tally.first_chunk.total) == (250_500, 80_125)
    assert (tally.batch_size.count, tally.batch_size.total) == (1, 3)
    assert {name: (t.waited.total, t.worked.total) for name, t in tally.hops.items()} == {
        "gateway": (0, 1_500),
        "cache-lookup": (1_500, 1_000),
        "router": (2_000, 250),
        "batcher": (1_750, 10_000),
        "model-caller": (2_000, 230_500),
    }


def test_a_cache_hit_costs_nothing_and_counts_as_one() -> None:
    """It has no call, no batch and no first chunk."""
    tally = folded(hit())

    assert (tally.requests, tally.completed, tally.exact_hits, tally.model_calls) == (1, 1, 1, 0)
    assert (tally.cost_nanousd, tally.first_chunk.count, tally.batch_size.count) == (0, 0, 0)


def test_a_failure_is_counted_by_code_fault_and_service() -> None:
    """The service is the one that ended the request."""
    tally = folded(failed(), failed(2, hops=()))

    assert (tally.failed, tally.failed_calls, tally.completed) == (2, 2, 0)
    assert tally.errors == {
        ("provider_timeout", "provider", "model-caller"): 1,
        ("provider_timeout", "provider", ""): 1,
    }


@pytest.mark.parametrize("outcome", ["completed", "failed", "cancelled", "expired"])
def test_each_outcome_has_its_counter(outcome: str) -> None:
    """And the outcomes add up to the requests."""
    tally = folded(answered(outcome=outcome))

    assert getattr(tally, outcome) == 1
    assert tally.completed + tally.failed + tally.cancelled + tally.expired == tally.requests


@pytest.mark.parametrize(
    ("outcome", "counter"),
    [
        ("exact_hit", "exact_hits"),
        ("semantic_hit", "semantic_hits"),
        ("miss", "cache_misses"),
        ("bypass", "cache_bypasses"),
        ("joined", "joined"),
    ],
)
def test_each_word_of_the_cache_has_its_counter(outcome: str, counter: str) -> None:
    """So hit rates follow from the counts."""
    tally = folded(answered(cache=CacheEvidence(outcome=outcome)))

    assert getattr(tally, counter) == 1


def test_an_unknown_word_of_the_cache_is_no_reason_to_lose_a_request() -> None:
    """A later cache may have more tiers."""
    tally = folded(answered(cache=CacheEvidence(outcome="guessed")))

    assert tally.requests == 1
    assert tally.exact_hits + tally.semantic_hits + tally.cache_misses + tally.cache_bypasses == 0


def test_every_call_counts_and_the_last_one_that_spoke_gives_the_first_chunk() -> None:
    """A retry is paid for as well."""
    silent = msgspec.structs.replace(CALL, error_code="provider_error", first_chunk_ms=-1.0)
    estimated = msgspec.structs.replace(
        CALL, usage=msgspec.structs.replace(CALL.usage, is_estimated=True), first_chunk_ms=99.0
    )
    tally = folded(answered(calls=(silent, estimated)))

    assert (tally.model_calls, tally.failed_calls, tally.estimated_calls) == (2, 1, 1)
    assert (tally.input_tokens, tally.first_chunk.total) == (200, 99_000)


def test_without_hops_the_duration_follows_from_the_times() -> None:
    """A record that was made by hand still has one."""
    assert folded(answered(hops=())).duration.total == 250_000


def test_clocks_that_ran_backwards_waited_for_nothing() -> None:
    """A hop that began before the one before it ended counts as zero."""
    hops = (Hop(service="a", received_ms=5.0, finished_ms=9.0), Hop(service="b", received_ms=7.0))
    tally = folded(answered(hops=hops))

    assert tally.hops["b"].waited.total == 0
    assert tally.hops["b"].worked.total == 0


def test_impossible_times_are_cut() -> None:
    """One wrong double does not drown the sum of a window."""
    hops = (Hop(service="a", received_ms=0.0, finished_ms=1e300),)

    assert folded(answered(hops=hops)).duration.maximum == 10**13


def test_services_and_errors_are_bounded() -> None:
    """What claims more than there can be counts together."""
    hops = tuple(Hop(service=f"s{i}", finished_ms=1.0) for i in range(MAX_SERVICES + 5))
    many = [failed(i, hops=(Hop(service=f"s{i}"),)) for i in range(MAX_ERRORS + 3)]

    assert len(folded(answered(hops=hops)).hops) == MAX_SERVICES + 1
    tally = folded(*many, many[0])
    assert len(tally.errors) == MAX_ERRORS + 1
    assert tally.errors[OTHER, OTHER, OTHER] == 3
    assert tally.errors["provider_timeout", "provider", "s0"] == 2


def test_unknown_error_codes_count_together() -> None:
    """Codes are a closed list, and so are their labels."""
    error = Failure(code="made_up", message="", fault="nobody")

    assert folded(failed(error=error)).errors == {(OTHER, OTHER, "model-caller"): 1}


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"outcome": "vanished"}, id="outcome"),
        pytest.param({"cost_nanousd": -1}, id="negative-cost"),
        pytest.param({"cost_nanousd": 10**16}, id="cost-beyond-reason"),
        pytest.param({"hops": (Hop(service="a", received_ms=float("nan")),)}, id="nan"),
        pytest.param({"hops": (*JOURNEY, Hop(service="a", finished_ms=float("inf")))}, id="inf"),
    ],
)
def test_what_cannot_be_counted_is_poison(changes: dict[str, Any]) -> None:
    """It is given up before anything of it is counted."""
    with pytest.raises(PoisonRecord, match="semantic_invalid"):
        facts_from(answered(**changes))


def test_negative_tokens_are_none() -> None:
    """A provider that lies downwards takes nothing off a window."""
    call = msgspec.structs.replace(
        CALL, usage=msgspec.structs.replace(CALL.usage, input_tokens=-5, output_tokens=-5)
    )

    assert folded(answered(calls=(call,))).input_tokens == 0
