"""Answers questions by what was answered to questions that mean the same."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

import msgspec

from services.cache_lookup.decide import MISS, Hit, NoHit
from services.cache_lookup.semantic.decide import Choice, choose
from services.cache_lookup.semantic.question import NotComparable, question_of
from services.cache_lookup.similar.decide import evidence_of, judge_like, least_similarity
from services.cache_lookup.similar.metrics import SemanticMetrics
from services.cache_lookup.verified.gatekeeper import Gatekeeper
from services.shared.codec.records import decode_record
from services.shared.domain.cache_times import CacheTimes
from services.shared.domain.configuration_semantic import Semantic, SemanticMode
from services.shared.domain.errors import PoisonRecord, Unavailable
from services.shared.domain.events import (
    CacheEntry,
    CacheEvidence,
    InferenceRequested,
    SemanticKey,
)
from services.shared.domain.semantic_modes import SemanticModes
from services.shared.ports.clock import Clock
from services.shared.ports.encoder import Encoder
from services.shared.ports.response_cache import ResponseCache
from services.shared.ports.semantic_index import Near, SemanticIndex

_CANDIDATES = 5


class _Asked(msgspec.Struct):
    """A request on its way through the tier.

    Attributes:
        request: The request.
        key: Its question; None = it is not compared, or was not yet.
        choice: What came closest; None = it was not compared.
        hit: What is served; None = nothing.
        outcome: What came of it, for the metrics.
    """

    request: InferenceRequested
    key: SemanticKey | None = None
    choice: Choice | None = None
    hit: Hit | None = None
    outcome: str = "unavailable"


class SemanticTier:
    """Compares the questions of several requests at once; whatever is away or slow is a miss."""

    def __init__(  # noqa: PLR0913  # named, one a collaborator
        self,
        *,
        encoder: Encoder,
        index: SemanticIndex,
        cache: ResponseCache,
        clock: Clock,
        modes: SemanticModes,
        policy: Semantic,
        times: CacheTimes,
        gatekeeper: Gatekeeper | None,
        metrics: SemanticMetrics,
    ) -> None:
        """Use an encoder, an index and the exact cache.

        Args:
            encoder: Makes vectors of questions.
            index: Finds those that are close.
            cache: Holds the answers.
            clock: The time.
            modes: Modes by alias.
            policy: The configuration.
            times: How long answers are kept.
            gatekeeper: Of the mode ``verified``; without one that serves nothing.
            metrics: Where outcomes are counted.
        """
        self._encoder = encoder
        self._index = index
        self._cache = cache
        self._clock = clock
        self._modes = modes
        self._policy = policy
        self._times = times
        self._gatekeeper = gatekeeper
        self._metrics = metrics

    def compares(self, request: InferenceRequested) -> bool:
        """Whether a request that the exact tier missed comes here."""
        return (
            not request.cache_policy.no_semantic
            and self._modes.of(request.model) is not SemanticMode.OFF
        )

    async def look_up(
        self, requests: Sequence[InferenceRequested], *, within_s: float
    ) -> list[Hit | NoHit]:
        """What is served to each request, or what is known of those that get nothing.

        Args:
            requests: Requests that ``compares`` holds for.
            within_s: Time that it may take. What was not found by then is a miss; a question that
                was encoded by then is named in the evidence, so that its answer can be found.
        """
        until_s = asyncio.get_running_loop().time() + within_s
        all_asked = [_Asked(request) for request in requests]
        async with _until(until_s):
            await self._encode(all_asked)
        keyed = [(asked, asked.key) for asked in all_asked if asked.key is not None]
        async with _until(until_s):
            if keyed:
                await self._find(keyed)
        for asked in all_asked:
            self._metrics.note(asked.outcome)
        return [_verdict(asked) for asked in all_asked]

    def missed_late(self) -> NoHit:
        """What is said of a request for which there was no time."""
        self._metrics.note("late")
        return MISS

    async def _encode(self, all_asked: Sequence[_Asked]) -> None:
        """Make the keys; equal texts are encoded once."""
        encoder = self._encoder
        compared = []
        for asked in all_asked:
            request = asked.request
            question = question_of(request, encoder=encoder.build, model=request.model)
            if isinstance(question, NotComparable):
                asked.outcome = question.reason
            elif not encoder.knows(question.text):
                asked.outcome = "unknown_text"
            else:
                compared.append((asked, question))
        texts = list(dict.fromkeys(question.text for _, question in compared))
        if not texts:
            return
        vectors = (await encoder.encode(texts)).astype("<f2")
        by_text = dict(zip(texts, vectors, strict=True))
        for asked, question in compared:
            asked.key = SemanticKey(
                scope=question.scope,
                encoder=encoder.build,
                text=question.text,
                vector=by_text[question.text].tobytes(),
                quotes=question.quotes,
            )

    async def _find(self, keyed: Sequence[tuple[_Asked, SemanticKey]]) -> None:
        keys = [key for _, key in keyed]
        found = await self._index.nearest(keys, most=_CANDIDATES, now_ms=self._clock.now_ms())
        chosen = []
        for (asked, key), nears in zip(keyed, found, strict=True):
            near = self._choose(asked, key, nears)
            if near is not None:
                asked.outcome = "gone"
                chosen.append((asked, near))
        if chosen:
            await self._read(chosen)

    def _choose(self, asked: _Asked, key: SemanticKey, nears: Sequence[Near]) -> Near | None:
        """The entry to be served; its body is still to be read."""
        request = asked.request
        mode = self._modes.of(request.model)
        others = [near for near in nears if near.entry.entry_id != request.request_id]
        asked.choice = choice = choose(
            key.text,
            others,
            threshold=least_similarity(self._policy, mode, request.cache_policy),
            use_verifier=self._policy.use_verifier,
        )
        chosen = choice.near
        if chosen is None:
            asked.outcome = _why_not(choice)
            return None
        if mode is SemanticMode.VERIFIED and not self._is_trusted(request.tenant, choice):
            asked.outcome = "held"
            return None
        return next(near for near in others if near.entry is chosen.entry)

    def _is_trusted(self, tenant: str, choice: Choice) -> bool:
        if self._gatekeeper is None or choice.near is None:
            return False
        return self._gatekeeper.serves(tenant, choice.near.entry.entry_id, choice.score)

    async def _read(self, chosen: Sequence[tuple[_Asked, Near]]) -> None:
        """Serve the bodies that are there; an entry without one is no entry any more."""
        fingerprints = list(dict.fromkeys(near.entry.fingerprint for _, near in chosen))
        values = dict(zip(fingerprints, await self._cache.read(fingerprints), strict=True))
        gone = []
        for asked, near in chosen:
            entry = _decoded(values[near.entry.fingerprint])
            if entry is None:
                gone.append(near.entry.entry_id)
                continue
            request = asked.request
            asked.hit = judge_like(
                request,
                near.entry,
                entry,
                _evidence(asked),
                ttl_s=self._times.ttl_s(request.model, request.operation),
                now_ms=self._clock.now_ms(),
            )
            asked.outcome = "refused" if asked.hit is None else "hit"
        if gone:
            await self._index.remove(gone)


def _why_not(choice: Choice) -> str:
    if choice.candidate is None:
        return "vetoed" if choice.objections else "none"
    return "near" if choice.score > 0 else "vetoed"


def _evidence(asked: _Asked) -> CacheEvidence:
    if asked.key is None:
        return MISS.evidence
    if asked.choice is None:
        return msgspec.structs.replace(MISS.evidence, semantic=asked.key)
    return evidence_of(asked.key, asked.choice)


def _verdict(asked: _Asked) -> Hit | NoHit:
    return NoHit(_evidence(asked)) if asked.hit is None else asked.hit


def _decoded(value: bytes | None) -> CacheEntry | None:
    """A body; None = there is none, or it cannot be read: the exact tier will delete it."""
    if value is None:
        return None
    try:
        return decode_record(value, CacheEntry)
    except PoisonRecord:
        return None


@asynccontextmanager
async def _until(until_s: float) -> AsyncIterator[None]:
    """Give up at a time of the loop; what was away by then is no error here."""
    with suppress(TimeoutError, Unavailable):  # it is counted, and each request is a miss
        async with asyncio.timeout_at(until_s):
            yield
