"""Which window a request counts in, and what it adds to it.

All that is decided follows from the records alone, in the order of the log, so whoever reads a
partition again decides the same: no clock of ours has a say.
"""

from collections.abc import Mapping, Set
from typing import Final, NamedTuple

import msgspec

from services.shared.domain.errors import ERRORS, FaultDomain, PoisonRecord
from services.shared.domain.events import CacheOutcome, Hop, InferenceFinished, Outcome
from services.shared.domain.usage_windows import OTHER, Dimensions, HopTally, Tally

BASE_S: Final = 10
"""Length of the windows that requests are counted in, seconds."""

MERGED_S: Final = (60, 3_600, 86_400)
"""Lengths of the windows that those are merged into, seconds."""

MAX_EARLY_MS: Final = 5 * 60_000
"""How far a request may have ended after the log took its record: clocks differ, by less."""

MAX_AGE_MS: Final = 24 * 3_600_000
"""How long a record may have been on its way to the log: no deadline is further away."""

MAX_LABEL_CHARACTERS: Final = 128
MAX_SERVICES: Final = 16
MAX_ERRORS: Final = 64
_MAX_COST_NANOUSD: Final = 10**15
_MAX_DURATION_US: Final = 10**13

_OUTCOMES: Final = frozenset(outcome.value for outcome in Outcome)
_FAULTS: Final = frozenset(fault.value for fault in FaultDomain)
_CACHE_COUNTERS: Final = {
    CacheOutcome.EXACT_HIT.value: "exact_hits",
    CacheOutcome.SEMANTIC_HIT.value: "semantic_hits",
    CacheOutcome.MISS.value: "cache_misses",
    CacheOutcome.BYPASS.value: "cache_bypasses",
    CacheOutcome.JOINED.value: "joined",
}


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept.

    Attributes:
        fold_s: How long records are gathered before the table is written, seconds.
        grace_ms: How long a window waits for requests that come late, ms.
        max_series: Combinations of dimensions kept for a tenant and day.
        max_tenants: Tenants kept for a day.
        remembered_ids: Request ids remembered for a partition.
    """

    fold_s: float = 1.0
    grace_ms: int = 60_000
    max_series: int = 200
    max_tenants: int = 1_000
    remembered_ids: int = 100_000


class Placement(NamedTuple):
    """Where a request counts.

    Attributes:
        start_ms: Start of its 10-s window, unix ms.
        watermark_ms: The partition's time from now on, unix ms.
        is_late: It ended before the windows that are open, or long before its record was logged.
        is_early: It ended after its record was logged, by more than clocks differ.
    """

    start_ms: int
    watermark_ms: int
    is_late: bool
    is_early: bool


class Facts(msgspec.Struct, frozen=True):
    """What a terminal record adds to a window.

    Attributes:
        outcome: Name of its outcome and of the counter.
        cache: Name of the counter of what the cache said.
        error: Code, fault and service of its error; None = it has none.
        duration_us: From acceptance to the end.
        first_chunk_us: From acceptance to the first output; None = no model said anything.
        hops: Service, time waited and time worked, a stage.
    """

    outcome: str
    cache: str
    error: tuple[str, str, str] | None
    duration_us: int
    first_chunk_us: int | None
    hops: tuple[tuple[str, int, int], ...]


def window_start(at_ms: int, size_s: int) -> int:
    """Start of the window of a length (seconds) that a time (unix ms) lies in, unix ms."""
    return at_ms - at_ms % (size_s * 1_000)


def is_closed(start_ms: int, size_s: int, *, watermark_ms: int, grace_ms: int) -> bool:
    """Whether nothing is counted in a window any more."""
    return start_ms + size_s * 1_000 <= window_start(watermark_ms - grace_ms, BASE_S)


def place(finished_at_ms: int, *, logged_at_ms: int, watermark_ms: int, grace_ms: int) -> Placement:
    """Find the window of a request.

    The watermark is the latest end of a request in the partition so far, as far as the log's own
    time bears it out: a clock that runs ahead moves no window of others.

    Args:
        finished_at_ms: When the request ended, by the clock of the stage that ended it, unix ms.
        logged_at_ms: Kafka's timestamp of the record, unix ms.
        watermark_ms: The partition's time so far, unix ms; 0 = none.
        grace_ms: How long a window waits for requests that come late.
    """
    is_early = finished_at_ms > logged_at_ms + MAX_EARLY_MS
    is_late = finished_at_ms < logged_at_ms - MAX_AGE_MS
    at_ms = max(0, logged_at_ms if is_early or is_late else finished_at_ms)
    watermark_ms = max(watermark_ms, min(at_ms, logged_at_ms))
    start_ms = window_start(at_ms, BASE_S)
    first_open_ms = window_start(max(0, watermark_ms - grace_ms), BASE_S)
    if start_ms < first_open_ms:
        start_ms, is_late = first_open_ms, True
    return Placement(start_ms, watermark_ms, is_late, is_early)


def dimensions_from(finished: InferenceFinished) -> Dimensions:
    """What a request is told apart by; texts of callers are cut to a bounded length."""
    call = finished.calls[-1] if finished.calls else None
    return Dimensions(
        tenant=finished.tenant[:MAX_LABEL_CHARACTERS],
        model=finished.model[:MAX_LABEL_CHARACTERS],
        provider=call.provider[:MAX_LABEL_CHARACTERS] if call else "",
        provider_model=call.model[:MAX_LABEL_CHARACTERS] if call else "",
        tier=finished.tier[:MAX_LABEL_CHARACTERS],
        feature=finished.feature[:MAX_LABEL_CHARACTERS],
        operation=finished.operation[:MAX_LABEL_CHARACTERS],
    )


def admit(
    dimensions: Dimensions, known: Mapping[str, Set[Dimensions]], policy: Policy
) -> Dimensions:
    """Bound the number of series: what is beyond it counts together, tenant by tenant.

    A tenant with too many combinations keeps its own totals and takes no room from others. What
    counts together is known from then on, too; by then the bound was reached anyway.

    Args:
        dimensions: Of a request.
        known: Combinations that are kept already, by tenant.
        policy: How many may be.
    """
    of_tenant = known.get(dimensions.tenant)
    if of_tenant is None:
        if len(known) >= policy.max_tenants:
            return Dimensions(*(OTHER,) * len(Dimensions._fields))
        return dimensions
    if dimensions in of_tenant or len(of_tenant) < policy.max_series:
        return dimensions
    return Dimensions(dimensions.tenant, *(OTHER,) * (len(Dimensions._fields) - 1))


def facts_from(finished: InferenceFinished) -> Facts:
    """Read what a terminal record adds.

    Raises:
        PoisonRecord: It says something that cannot be counted. Not retriable.
    """
    if finished.outcome not in _OUTCOMES:
        raise PoisonRecord("semantic_invalid", f"outcome {finished.outcome[:64]!r}")
    if not 0 <= finished.cost_nanousd <= _MAX_COST_NANOUSD:
        raise PoisonRecord("semantic_invalid", f"a cost of {finished.cost_nanousd} nano-USD")
    try:
        return _facts(finished)
    except (ValueError, OverflowError) as error:  # a time that is no number
        raise PoisonRecord("semantic_invalid", f"hops or calls: {error}") from error


def fold(tally: Tally, finished: InferenceFinished, facts: Facts) -> Tally:
    """Add a request to a tally.

    Args:
        tally: Of the request's window; it is changed.
        finished: The terminal record.
        facts: What ``facts_from`` says of it.

    Returns:
        The tally.
    """
    tally.requests += 1
    setattr(tally, facts.outcome, getattr(tally, facts.outcome) + 1)
    if facts.cache:
        setattr(tally, facts.cache, getattr(tally, facts.cache) + 1)
    tally.streams += finished.stream
    tally.cost_nanousd += finished.cost_nanousd
    _fold_calls(tally, finished)
    if facts.error is not None:
        is_kept = facts.error in tally.errors or len(tally.errors) < MAX_ERRORS
        error = facts.error if is_kept else (OTHER, OTHER, OTHER)
        tally.errors[error] = tally.errors.get(error, 0) + 1
    tally.duration.add(facts.duration_us)
    if facts.first_chunk_us is not None:
        tally.first_chunk.add(facts.first_chunk_us)
    if finished.batch_size > 0:
        tally.batch_size.add(finished.batch_size)
    for service, waited_us, worked_us in facts.hops:
        times = _times(tally, service)
        times.waited.add(waited_us)
        times.worked.add(worked_us)
    return tally


def _fold_calls(tally: Tally, finished: InferenceFinished) -> None:
    for call in finished.calls:
        usage = call.usage
        tally.model_calls += 1
        tally.failed_calls += bool(call.error_code)
        tally.input_tokens += max(0, usage.input_tokens)
        tally.output_tokens += max(0, usage.output_tokens)
        tally.cached_input_tokens += max(0, usage.cached_input_tokens)
        tally.reasoning_output_tokens += max(0, usage.reasoning_output_tokens)
        tally.estimated_calls += usage.is_estimated


def _times(tally: Tally, service: str) -> HopTally:
    times = tally.hops.get(service)
    if times is None:
        name = service if len(tally.hops) < MAX_SERVICES else OTHER
        times = tally.hops.setdefault(name, HopTally())
    return times


def _facts(finished: InferenceFinished) -> Facts:
    hops = finished.hops
    duration_ms = (
        hops[-1].finished_ms if hops else float(finished.finished_at - finished.accepted_at)
    )
    first_chunk_ms = next(
        (call.first_chunk_ms for call in reversed(finished.calls) if call.first_chunk_ms >= 0), None
    )
    return Facts(
        outcome=finished.outcome,
        cache=_CACHE_COUNTERS.get(finished.cache.outcome, ""),
        error=_error(finished),
        duration_us=_us(duration_ms),
        first_chunk_us=None if first_chunk_ms is None else _us(first_chunk_ms),
        hops=_hop_times(hops),
    )


def _hop_times(hops: tuple[Hop, ...]) -> tuple[tuple[str, int, int], ...]:
    times = []
    left_ms = 0.0
    for hop in hops:
        waited_us = _us(hop.received_ms - left_ms)
        worked_us = _us(hop.finished_ms - hop.received_ms)
        times.append((hop.service[:MAX_LABEL_CHARACTERS], waited_us, worked_us))
        left_ms = hop.finished_ms
    return tuple(times)


def _error(finished: InferenceFinished) -> tuple[str, str, str] | None:
    error = finished.error
    if error is None:
        return None
    service = finished.hops[-1].service[:MAX_LABEL_CHARACTERS] if finished.hops else ""
    return (
        error.code if error.code in ERRORS else OTHER,
        error.fault if error.fault in _FAULTS else OTHER,
        service,
    )


def _us(ms: float) -> int:
    """Thousandths of ms, as far as anybody could have waited."""
    us = round(ms * 1_000)
    if us <= 0:
        return 0
    return us if us < _MAX_DURATION_US else _MAX_DURATION_US
