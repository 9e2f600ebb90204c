"""Asks the model again, in the background, about a hit that is served, to learn if it was right."""

import hashlib
from collections.abc import Iterator

import msgspec

from services.cache_lookup.verified.gatekeeper import Gatekeeper
from services.shared.domain.configuration_semantic import SemanticMode
from services.shared.domain.emit import Emit
from services.shared.domain.events import (
    CacheEvidence,
    CacheMissed,
    CacheOutcome,
    CachePolicy,
    InferenceRequested,
)
from services.shared.domain.ids import NO_REPLY
from services.shared.domain.semantic_modes import SemanticModes
from services.shared.domain.topics import Topic
from services.shared.domain.verified import SHADOW_FEATURE

SUFFIX = "-shadow"
_BACKGROUND = 2
_WITHIN_MS = 300_000
_LONGEST_ID = 64 - len(SUFFIX)


class Reasks:
    """Says which hits of aliases in the verified mode are asked again."""

    def __init__(self, gatekeeper: Gatekeeper, modes: SemanticModes) -> None:
        """Use a gatekeeper.

        Args:
            gatekeeper: Draws the hits.
            modes: Modes by alias; hits of no other mode are asked again.
        """
        self._gatekeeper = gatekeeper
        self._modes = modes

    def emits(
        self, request: InferenceRequested, evidence: CacheEvidence, *, now_ms: float
    ) -> Iterator[Emit]:
        """The record that asks again about a hit, where it is asked again.

        Args:
            request: The request that is served from the cache.
            evidence: What the caller is told of its hit.
            now_ms: Unix ms.
        """
        if (
            evidence.outcome != CacheOutcome.SEMANTIC_HIT
            or self._modes.of(request.model) is not SemanticMode.VERIFIED
            or len(request.request_id) > _LONGEST_ID
        ):
            return
        weight = self._gatekeeper.asks_again(request.tenant, draw_of(request.request_id))
        if weight is None:
            return
        shadow = shadow_of(request, now_ms=now_ms)
        cache = msgspec.structs.replace(
            evidence,
            outcome=CacheOutcome.BYPASS.value,
            age_s=0,
            source_request_id="",
            shadow_of=request.request_id,
            shadow_weight=weight,
        )
        yield Emit(
            topic=Topic.CACHE_MISSES,
            key=shadow.request_id,
            event=CacheMissed(request=shadow, cache=cache),
            request=shadow,
        )


def shadow_of(request: InferenceRequested, *, now_ms: float) -> InferenceRequested:
    """The request that asks again: of the same tenant and key, for nobody, and never kept.

    Without a fingerprint no identical request joins it, and the cache writer has no place for its
    answer. It is a trace of its own.
    """
    return msgspec.structs.replace(
        request,
        request_id=request.request_id + SUFFIX,
        feature=SHADOW_FEATURE,
        stream=False,
        include_usage=False,
        priority=_BACKGROUND,
        accepted_at=request.accepted_at,  # the same when it is delivered again
        deadline_at=int(now_ms) + _WITHIN_MS,
        reply_partition=NO_REPLY,
        fingerprint="",
        cache_policy=CachePolicy(no_cache=True, no_store=True, no_semantic=True),
        traceparent="",
        tracestate="",
    )


def draw_of(request_id: str) -> float:
    """A number 0..1 that looks random, and is the same when a request is delivered again."""
    digest = hashlib.blake2b(request_id.encode(), digest_size=6, person=b"reask").digest()
    return int.from_bytes(digest, "big") / (1 << 48)
