"""Which answers are kept, and for how long."""

import msgspec

from services.shared.domain.answer_text import answer_hash, answer_text
from services.shared.domain.events import (
    AnswerCached,
    CacheEntry,
    CacheOutcome,
    InferenceFinished,
    Outcome,
)
from services.shared.domain.kept_answer import entry_of

COMPLETE = "stop"
_MS_PER_S = 1000


class Keep(msgspec.Struct, frozen=True):
    """Keep this entry for so many seconds."""

    entry: CacheEntry
    ttl_s: int


class Pass(msgspec.Struct, frozen=True):
    """Keep nothing, and why."""

    reason: str


def admit_answer(finished: InferenceFinished, *, ttl_s: int, max_body_bytes: int) -> Keep | Pass:
    """Decide whether an answer is kept.

    Only whole answers from a model of our own calling are: one that was cut off by a limit, was
    cancelled, failed, or came from the cache itself is not.

    Args:
        finished: The terminal record.
        ttl_s: How long answers of this kind are kept; 0 = never.
        max_body_bytes: Largest answer kept.
    """
    checks = (
        (finished.outcome == Outcome.COMPLETED, "not completed"),
        (bool(finished.calls), "no model was called"),
        (finished.cache.outcome in {CacheOutcome.MISS, CacheOutcome.BYPASS}, "already kept"),
        (finished.finish_reason == COMPLETE, "the answer did not end by itself"),
        (not finished.cache_policy.no_store, "the caller forbids it"),
        (bool(finished.fingerprint), "no fingerprint"),
        (ttl_s > 0, "answers of this kind are not kept"),
        (0 < len(finished.response) <= max_body_bytes, "size"),
    )
    for holds, reason in checks:
        if not holds:
            return Pass(reason)
    return Keep(entry_of(finished), ttl_s)


def announced(finished: InferenceFinished, keep: Keep, *, now_ms: float) -> AnswerCached:
    """What every look-up is told of an answer that is kept.

    A question is named only where the answer has a text: there is nothing to compare otherwise.

    Args:
        finished: The terminal record.
        keep: What is kept of it.
        now_ms: When it was written, unix ms.
    """
    text = answer_text(finished.operation, finished.response)
    return AnswerCached(
        entry_id=finished.request_id,
        tenant=finished.tenant,
        model=finished.model,
        operation=finished.operation,
        fingerprint=finished.fingerprint,
        answer_hash=answer_hash(text) if text else "",
        semantic=finished.cache.semantic if text else None,
        stored_at=keep.entry.stored_at,
        expires_at=int(now_ms) + keep.ttl_s * _MS_PER_S,
    )
