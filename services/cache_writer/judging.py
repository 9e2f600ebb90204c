"""Whether a fresh answer shows that a cached one would have been, or was, right."""

import re
import unicodedata

import msgspec

from services.shared.domain.events import (
    CacheEvidence,
    CacheOutcome,
    CandidateJudged,
    InferenceFinished,
    Outcome,
)
from services.shared.domain.verified import LEAST_SCORE

ALIKE = 0.9
"""Least cosine of two answers that say the same in other words; less is taken for another answer."""

_NUMBER = re.compile(r"\d+(?:[.,:/]\d+)*")
_NEGATION = re.compile(
    r"\b(?:no|not|none|never|nothing|nobody|neither|nor|cannot|without|unable)\b|n't\b"
)


class NoCandidate(msgspec.Struct, frozen=True):
    """The request was compared, and nothing came close enough ever to be served."""


class Compare(msgspec.Struct, frozen=True):
    """The fresh answer has to be compared with the candidate's.

    Attributes:
        fingerprint: Key of the candidate's answer in the exact cache.
        was_served: Whether the candidate's answer was served.
        weight: Requests that this one stands for.
    """

    fingerprint: str
    was_served: bool
    weight: float


def lesson_of(finished: InferenceFinished) -> NoCandidate | Compare | None:
    """What there is to learn from a request that ended; None = nothing.

    A hit teaches nothing by itself: what is asked again of hits stands for all of them. What
    failed has no fresh answer, and does not count as a request either.
    """
    cache = finished.cache
    if finished.outcome != Outcome.COMPLETED or not finished.calls or cache.semantic is None:
        return None
    if cache.shadow_of:
        return Compare(cache.candidate_fingerprint, was_served=True, weight=cache.shadow_weight)
    if cache.outcome != CacheOutcome.MISS:
        return None
    if not cache.candidate_fingerprint or cache.score < LEAST_SCORE:
        return NoCandidate()
    return Compare(cache.candidate_fingerprint, was_served=False, weight=1.0)


def is_same_text(fresh: str, cached: str) -> bool:
    """Whether two answers are equal but for case, Unicode form, white space and end marks."""
    return bool(fresh) and _plain(fresh) == _plain(cached)


def differs_in_substance(fresh: str, cached: str) -> bool:
    """Whether two answers differ in a number, or one denies more often than the other."""
    fresh, cached = _plain(fresh), _plain(cached)
    if sorted(_NUMBER.findall(fresh)) != sorted(_NUMBER.findall(cached)):
        return True
    return len(_NEGATION.findall(fresh)) != len(_NEGATION.findall(cached))


def judgement(
    finished: InferenceFinished,
    compare: Compare,
    *,
    is_right: bool,
    without_candidate: int,
) -> CandidateJudged:
    """The record of a comparison.

    Args:
        finished: The terminal record of the request.
        compare: What was compared.
        is_right: Whether both answers say the same.
        without_candidate: Requests of the tenant since the last judgement that had no candidate.
    """
    cache: CacheEvidence = finished.cache
    return CandidateJudged(
        request_id=finished.request_id,
        tenant=finished.tenant,
        entry_id=cache.candidate_id,
        scope=cache.semantic.scope if cache.semantic else "",
        score=cache.score,
        is_right=is_right,
        was_served=compare.was_served,
        weight=compare.weight,
        at=finished.finished_at,
        without_candidate=without_candidate,
    )


def _plain(text: str) -> str:
    folded = (
        unicodedata.normalize("NFKC", text)
        .casefold()
        .replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
    )
    return " ".join(folded.split()).rstrip(".!")
