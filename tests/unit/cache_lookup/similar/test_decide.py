"""How close a question has to be, and what is checked of an answer that was found."""

from typing import Any

import msgspec
import pytest

from services.cache_lookup.decide import Hit
from services.cache_lookup.semantic.decide import Choice
from services.cache_lookup.similar.decide import evidence_of, judge_like, least_similarity
from services.shared.domain.configuration_semantic import Semantic, SemanticMode
from services.shared.domain.events import AnswerCached, CacheEntry, CacheEvidence, CachePolicy
from services.shared.ports.semantic_index import Near
from tests.support.example_events import request_id, requested
from tests.support.fake_clock import START_MS
from tests.support.semantic_entries import direction, entry_of, key_of

_FOUND = entry_of(1, stored_at=int(START_MS) - 7_000)
_KEY = key_of(direction(1))
_EVIDENCE = CacheEvidence(similarity=0.95, score=0.9, candidate_id=_FOUND.entry_id, semantic=_KEY)
_BODY = CacheEntry(
    fingerprint=_FOUND.fingerprint,
    tenant="acme",
    request_id=_FOUND.entry_id,
    operation="chat",
    response=b"{}",
    stored_at=int(START_MS) - 7_000,
)


@pytest.mark.parametrize(
    ("mode", "threshold", "asked", "least"),
    [
        (SemanticMode.GUARDED, 0.92, 0.0, 0.92),
        (SemanticMode.GUARDED, 0.92, 0.8, 0.92),
        (SemanticMode.GUARDED, 0.92, 0.97, 0.97),
        (SemanticMode.STRICT, 0.92, 0.0, 0.95),
        (SemanticMode.STRICT, 0.98, 0.0, 0.98),
        (SemanticMode.STRICT, 0.92, 1.0, 1.0),
        (SemanticMode.VERIFIED, 0.9, 0.0, 0.7),
    ],
)
def test_the_strictest_wins(
    mode: SemanticMode, threshold: float, asked: float, least: float
) -> None:
    """Configuration, mode and caller each only raise it."""
    policy = CachePolicy(min_similarity=asked)
    assert least_similarity(Semantic(threshold=threshold), mode, policy) == least


def judged(
    *,
    found: AnswerCached = _FOUND,
    entry: CacheEntry = _BODY,
    evidence: CacheEvidence = _EVIDENCE,
    ttl_s: int = 60,
    **request: Any,
) -> Hit | None:
    """The verdict on a request that is like that of the entry."""
    return judge_like(requested(2, **request), found, entry, evidence, ttl_s=ttl_s, now_ms=START_MS)


def test_what_fits_is_served_with_its_evidence() -> None:
    """Age and source are the body's; the vector goes no further."""
    hit = judged()
    assert hit is not None
    assert hit.entry is _BODY
    told = hit.evidence
    assert (told.outcome, told.age_s, told.source_request_id) == (
        "semantic_hit",
        7,
        _FOUND.entry_id,
    )
    assert (told.similarity, told.score, told.candidate_id) == (0.95, 0.9, _FOUND.entry_id)
    assert told.semantic == msgspec.structs.replace(_KEY, vector=b"")


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"tenant": "other"}, id="another_tenant_asks"),
        pytest.param({"operation": "text_completion"}, id="another_operation_is_asked"),
        pytest.param({"request_id": request_id(1)}, id="its_own_answer"),
        pytest.param({"cache_policy": CachePolicy(max_age_s=6)}, id="too_old_for_the_caller"),
        pytest.param({"ttl_s": 6}, id="too_old_by_now"),
        pytest.param(
            {"found": msgspec.structs.replace(_FOUND, tenant="other")}, id="entry_of_another_tenant"
        ),
        pytest.param(
            {"found": msgspec.structs.replace(_FOUND, operation="x")}, id="entry_of_another_kind"
        ),
        pytest.param({"found": entry_of(1, scope="scope-b")}, id="another_scope"),
        pytest.param({"found": entry_of(1, semantic=None)}, id="entry_without_a_question"),
        pytest.param({"evidence": CacheEvidence()}, id="no_question"),
        pytest.param(
            {"entry": msgspec.structs.replace(_BODY, tenant="other")}, id="body_of_another_tenant"
        ),
        pytest.param(
            {"entry": msgspec.structs.replace(_BODY, operation="x")}, id="body_of_another_kind"
        ),
        pytest.param(
            {"entry": msgspec.structs.replace(_BODY, fingerprint="f")}, id="another_fingerprint"
        ),
    ],
)
def test_what_does_not_fit_is_not_served(changes: dict[str, Any]) -> None:
    """All is checked again, whatever the index and the store say."""
    assert judged(**changes) is None


def test_a_miss_says_what_came_closest() -> None:
    """Within 0..1, as rounding may leave it."""
    near = Near(_FOUND, 1.0004)
    told = evidence_of(_KEY, Choice(candidate=near, similarity=1.0004, score=-0.1))
    assert told == CacheEvidence(
        outcome="miss",
        similarity=1.0,
        score=0.0,
        candidate_id=_FOUND.entry_id,
        candidate_fingerprint=_FOUND.fingerprint,
        semantic=_KEY,
    )
    assert evidence_of(_KEY, Choice()) == CacheEvidence(outcome="miss", semantic=_KEY)
