"""What is compared, how close it has to be, and whether what was found may be served."""

import msgspec

from services.cache_lookup.decide import ANY_AGE, MS_PER_S, Hit
from services.cache_lookup.semantic.decide import Choice
from services.shared.domain.configuration_semantic import (
    STRICT_SIMILARITY,
    Semantic,
    SemanticMode,
)
from services.shared.domain.events import (
    AnswerCached,
    CacheEntry,
    CacheEvidence,
    CacheOutcome,
    CachePolicy,
    InferenceRequested,
    SemanticKey,
)
from services.shared.domain.verified import LEAST_SCORE


def least_similarity(semantic: Semantic, mode: SemanticMode, policy: CachePolicy) -> float:
    """How close a question has to be: callers only ever raise it.

    Args:
        semantic: The configuration.
        mode: Of the alias that is asked.
        policy: What the caller says.
    """
    if mode is SemanticMode.VERIFIED:  # the tenant's own controller has the say
        return max(LEAST_SCORE, policy.min_similarity)
    usual = semantic.threshold
    if mode is SemanticMode.STRICT:
        usual = max(usual, STRICT_SIMILARITY)
    return max(usual, policy.min_similarity)


def evidence_of(key: SemanticKey, choice: Choice) -> CacheEvidence:
    """What a miss knows: the question, and what came closest to it."""
    candidate = choice.candidate
    return CacheEvidence(
        outcome=CacheOutcome.MISS.value,
        similarity=_ratio(choice.similarity),
        score=_ratio(choice.score),
        candidate_id="" if candidate is None else candidate.entry.entry_id,
        candidate_fingerprint="" if candidate is None else candidate.entry.fingerprint,
        semantic=key,
    )


def judge_like(  # noqa: PLR0913  # all of it has to fit
    request: InferenceRequested,
    found: AnswerCached,
    entry: CacheEntry,
    evidence: CacheEvidence,
    *,
    ttl_s: int,
    now_ms: float,
) -> Hit | None:
    """Decide whether the body of an entry may be served to a question like its own.

    The index compared the scope, which covers the tenant, and yet all is checked again: neither an
    index nor a store that mixes things up must show one tenant another's answer. The body may be
    younger than the entry: the question was asked past the cache since.

    Args:
        request: The request.
        found: What the index found.
        entry: What the exact cache holds under its fingerprint.
        evidence: What a miss would say.
        ttl_s: How long answers of this kind are kept now.
        now_ms: Unix ms.

    Returns:
        What is served; None = nothing.
    """
    mine, theirs = evidence.semantic, found.semantic
    fits = (
        mine is not None
        and theirs is not None
        and theirs.scope == mine.scope
        and found.tenant == entry.tenant == request.tenant
        and found.operation == entry.operation == request.operation
        and found.fingerprint == entry.fingerprint
        and entry.request_id != request.request_id
    )
    age_s = max(0, int(now_ms - entry.stored_at) // MS_PER_S)
    most_s = request.cache_policy.max_age_s
    if not fits or age_s > ttl_s or (most_s != ANY_AGE and age_s > most_s):
        return None
    told = msgspec.structs.replace(
        evidence,
        outcome=CacheOutcome.SEMANTIC_HIT.value,
        age_s=age_s,
        source_request_id=entry.request_id,
        semantic=None if mine is None else msgspec.structs.replace(mine, vector=b""),
    )
    return Hit(entry, told)


def _ratio(value: float) -> float:
    return min(1.0, max(0.0, value))
