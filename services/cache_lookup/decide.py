"""Whether a request is looked up, and whether what was found may be served."""

import msgspec

from services.shared.domain.events import (
    CacheEntry,
    CacheEvidence,
    CacheOutcome,
    InferenceRequested,
)

MS_PER_S = 1000
ANY_AGE = -1


class Hit(msgspec.Struct, frozen=True):
    """This entry answers the request."""

    entry: CacheEntry
    evidence: CacheEvidence


class Ended(msgspec.Struct, frozen=True):
    """The request has made this entry itself: it comes again after a crash, and has its end."""


class NoHit(msgspec.Struct, frozen=True):
    """The model has to be asked.

    Attributes:
        evidence: What the caller is told.
        is_foreign: The entry belongs to another tenant or another request: a fault to look into.
    """

    evidence: CacheEvidence
    is_foreign: bool = False


MISS = NoHit(CacheEvidence(outcome=CacheOutcome.MISS.value))
BYPASS = NoHit(CacheEvidence(outcome=CacheOutcome.BYPASS.value))


def is_looked_up(request: InferenceRequested, *, ttl_s: int) -> bool:
    """Whether the cache is asked at all.

    Args:
        request: The request.
        ttl_s: How long answers of this kind are kept; 0 = never.
    """
    return ttl_s > 0 and not request.cache_policy.no_cache and bool(request.fingerprint)


def is_expired(request: InferenceRequested, *, now_ms: float) -> bool:
    """Whether a request's answer is worthless by now; 0 = it has no deadline."""
    return 0 < request.deadline_at <= now_ms


def judge(
    request: InferenceRequested, entry: CacheEntry, *, ttl_s: int, now_ms: float
) -> Hit | Ended | NoHit:
    """Decide whether an entry found under the request's fingerprint may be served.

    The fingerprint covers the tenant, and yet the entry is checked again: a store that mixes up
    keys must not show one tenant another's answer.

    Args:
        request: The request.
        entry: What was found.
        ttl_s: How long answers of this kind are kept now; the configuration may have changed.
        now_ms: Unix ms.
    """
    same = (entry.tenant, entry.fingerprint, entry.operation) == (
        request.tenant,
        request.fingerprint,
        request.operation,
    )
    if not same:
        return NoHit(MISS.evidence, is_foreign=True)
    if entry.request_id == request.request_id:
        return Ended()
    age_s = max(0, int(now_ms - entry.stored_at) // MS_PER_S)
    most_s = request.cache_policy.max_age_s
    if age_s > ttl_s or (most_s != ANY_AGE and age_s > most_s):
        return MISS
    evidence = CacheEvidence(
        outcome=CacheOutcome.EXACT_HIT.value, age_s=age_s, source_request_id=entry.request_id
    )
    return Hit(entry, evidence)


HOLD_BACKGROUND = 500
"""Records behind the look-up from which on background requests wait."""

HOLD_NEAR_REAL_TIME = 1_000
"""Records behind the look-up from which on only requests that somebody waits for go on."""


def held_lanes(backlog: int, *, held: frozenset[int]) -> frozenset[int]:
    """Which lanes wait while the shared topics after the look-up are long.

    Background requests (lane 2) wait first, near real time (lane 1) next, lane 0 never. A lane
    that waits goes on when the backlog has halved, so that it does not flutter.

    Args:
        backlog: Records that the stages after the look-up have not taken yet.
        held: Lanes that wait now.
    """
    limits = {2: HOLD_BACKGROUND, 1: HOLD_NEAR_REAL_TIME}
    return frozenset(
        lane for lane, limit in limits.items() if backlog > (limit / 2 if lane in held else limit)
    )
