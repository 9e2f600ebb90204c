"""Which of the nearest questions, if any, has the answer to this one."""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from services.cache_lookup.semantic.guards import objection
from services.cache_lookup.semantic.verifier import verifier_score
from services.shared.domain.events import AnswerCached


class Candidate(Protocol):
    """An entry that came close; its scope is that of the question."""

    @property
    def entry(self) -> AnswerCached:
        """The entry; it has a ``SemanticKey``."""
        ...

    @property
    def similarity(self) -> float:
        """Cosine of both questions, -1..1."""
        ...


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """What was chosen, and why not the others.

    Attributes:
        near: What may be served; None = nothing.
        candidate: The best that no guard objects to, whether it may be served or not; else the
            closest of all; None = there was none.
        similarity: Cosine of ``candidate``; 0 = there was none.
        score: Of ``candidate``, 0..1, comparable across pairs; 0 = a guard objects.
        objections: Candidates that a guard objects to, by entry id, with the guard's name; without
            the verifier only those closer than ``candidate``.
    """

    near: Candidate | None = None
    candidate: Candidate | None = None
    similarity: float = 0.0
    score: float = 0.0
    objections: tuple[tuple[str, str], ...] = ()


def choose(
    asked: str, nears: Sequence[Candidate], *, threshold: float, use_verifier: bool
) -> Choice:
    """Choose whose answer may be served.

    Args:
        asked: The question, as ``Question.text``.
        nears: The nearest entries of its scope.
        threshold: Least score of what is served.
        use_verifier: Whether the verifier ranks the candidates and has a say beside the guards.
    """
    by_similarity = sorted(nears, key=lambda near: -near.similarity)
    objections: list[tuple[str, str]] = []
    best, best_score = None, -1.0
    for near in by_similarity:
        if near.entry.semantic is None:
            continue
        cached = near.entry.semantic.text
        guard = objection(asked, cached)
        if guard is not None:
            objections.append((near.entry.entry_id, guard))
            continue
        score = score_of(asked, cached, near.similarity, use_verifier=use_verifier)
        if score > best_score:
            best, best_score = near, score
        if not use_verifier:  # those that follow are less similar
            break
    return _choice(best, best_score, by_similarity, tuple(objections), threshold=threshold)


def _choice(
    best: Candidate | None,
    score: float,
    by_similarity: Sequence[Candidate],
    objections: tuple[tuple[str, str], ...],
    *,
    threshold: float,
) -> Choice:
    if best is not None:
        return Choice(
            near=best if score >= threshold else None,
            candidate=best,
            similarity=best.similarity,
            score=score,
            objections=objections,
        )
    vetoed = [near for near in by_similarity if near.entry.semantic is not None]
    if not vetoed:
        return Choice()
    return Choice(candidate=vetoed[0], similarity=vetoed[0].similarity, objections=objections)


def score_of(asked: str, cached: str, similarity: float, *, use_verifier: bool) -> float:
    """How sure it is that two questions have one answer, 0..1, where no guard objects.

    It is their similarity, or the verifier's score, which is scaled to be compared with the same
    thresholds.
    """
    if use_verifier:
        return verifier_score(asked, cached, similarity)
    return min(1.0, max(0.0, similarity))
