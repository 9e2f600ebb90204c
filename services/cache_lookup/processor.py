"""All requests of a poll: admit, look up in one round trip, answer or pass on."""

import logging
from collections.abc import Callable, Iterable, Sequence

import msgspec
from prometheus_client import CollectorRegistry, Counter

from services.cache_lookup.decide import BYPASS, MISS, Hit, NoHit, is_expired, is_looked_up, judge
from services.shared.codec.headers import is_signed
from services.shared.codec.records import decode_record
from services.shared.domain.cache_times import CacheTimes
from services.shared.domain.emit import Emit
from services.shared.domain.errors import PoisonRecord, PublicError, Unavailable
from services.shared.domain.events import (
    CacheEntry,
    CacheEvidence,
    CacheMissed,
    ChunkKind,
    Hop,
    InferenceRequested,
    Operation,
    ResultChunk,
)
from services.shared.domain.evidence import cache_headers
from services.shared.domain.ids import NO_REPLY
from services.shared.domain.replay import replayed_stream, whole_response
from services.shared.domain.terminal import (
    Answer,
    Journey,
    chunk_emit,
    completed,
    emits_for_expiry,
    emits_for_failure,
    terminal_emit,
)
from services.shared.domain.topics import REQUEST_TOPICS, Topic
from services.shared.ports.response_cache import ResponseCache
from services.shared.ports.work import OpenRecord

_LOG = logging.getLogger(__name__)
CONSUMES = REQUEST_TOPICS
READS = (Topic.INFERENCE_RESULTS,)
EMITS = (Topic.CACHE_MISSES, Topic.RESULT_CHUNKS, Topic.INFERENCE_RESULTS, Topic.USAGE_LEDGER)

Requested = OpenRecord[InferenceRequested]


class NotAdmitted(msgspec.Struct, frozen=True):
    """A record that no gateway of ours signed is no request that is served.

    Attributes:
        request: As much of it as may be believed.
        error: Why.
    """

    request: InferenceRequested
    error: PublicError


Readmit = Callable[[Requested, float], InferenceRequested | NotAdmitted]
"""Parses and extracts anew a record that no gateway of ours signed; the second is unix ms."""


class LookupMetrics:
    """What the cache did."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Register the metrics."""
        self._outcomes = Counter(
            "millrace_cache_lookups",
            "Requests by what the cache said; error = it did not answer in time.",
            ("outcome",),
            registry=registry,
        )

    def note(self, outcome: str, count: int = 1) -> None:
        """Count requests."""
        self._outcomes.labels(outcome).inc(count)


def _ignore(_priority: int) -> None:
    """Nobody wants to know."""


class CacheLookupProcessor:
    """Requests in; hits and misses out."""

    def __init__(  # noqa: PLR0913  # named, one a collaborator
        self,
        *,
        cache: ResponseCache,
        times: CacheTimes,
        secret: bytes,
        readmit: Readmit,
        metrics: LookupMetrics,
        saw: Callable[[int], None] = _ignore,
    ) -> None:
        """Use a cache.

        Args:
            cache: Where answers are kept.
            times: How long they are.
            secret: What gateways sign requests with.
            readmit: Admission of unsigned records.
            metrics: Where outcomes are counted.
            saw: Told the priority of every request.
        """
        self._saw = saw
        self._cache = cache
        self._times = times
        self._secret = secret
        self._readmit = readmit
        self._metrics = metrics

    async def process(self, works: Sequence[Requested], now_ms: float) -> Sequence[Iterable[Emit]]:
        """Answer for each request of a poll, in order.

        Args:
            works: The requests.
            now_ms: Unix ms.
        """
        admitted = [self._admit(work, now_ms) for work in works]
        asked = {
            request.fingerprint
            for request in admitted
            if isinstance(request, InferenceRequested)
            and self._is_looked_up(request)
            and not is_expired(request, now_ms=now_ms)
        }
        entries = await self._read(sorted(asked))
        return [
            self._answer(work, request, entries, now_ms)
            for work, request in zip(works, admitted, strict=True)
        ]

    def _admit(self, work: Requested, now_ms: float) -> InferenceRequested | NotAdmitted:
        if is_signed(self._secret, work.value, work.headers):
            return work.event
        return self._readmit(work, now_ms)

    def _is_looked_up(self, request: InferenceRequested) -> bool:
        return is_looked_up(request, ttl_s=self._ttl_s(request))

    def _ttl_s(self, request: InferenceRequested) -> int:
        return self._times.ttl_s(request.model, request.operation)

    async def _read(self, fingerprints: Sequence[str]) -> dict[str, CacheEntry]:
        """Entries by fingerprint; one that cannot be read is deleted and counts as none."""
        if not fingerprints:
            return {}
        try:
            values = await self._cache.read(fingerprints)
        except Unavailable:
            self._metrics.note("error", len(fingerprints))
            return {}
        entries = {}
        spoilt = []
        for fingerprint, value in zip(fingerprints, values, strict=True):
            if value is not None:
                try:
                    entries[fingerprint] = decode_record(value, CacheEntry)
                except PoisonRecord:
                    spoilt.append(fingerprint)
        if spoilt:
            await self._forget(spoilt)
        return entries

    async def _forget(self, fingerprints: Sequence[str]) -> None:
        self._metrics.note("spoilt", len(fingerprints))
        try:
            await self._cache.delete(fingerprints)
        except Unavailable:
            _LOG.warning("a spoilt cache entry could not be deleted; it expires by itself")

    def _answer(
        self,
        work: Requested,
        request: InferenceRequested | NotAdmitted,
        entries: dict[str, CacheEntry],
        now_ms: float,
    ) -> Iterable[Emit]:
        if isinstance(request, NotAdmitted):
            hops = (_front_door_hop(work, request.request),)
            return emits_for_failure(
                request.request, request.error, now_ms=now_ms, journey=Journey(hops=hops)
            )
        self._saw(request.priority)
        hops = (_front_door_hop(work, request),)
        if is_expired(request, now_ms=now_ms):
            return emits_for_expiry(request, now_ms=now_ms, journey=Journey(hops=hops))
        verdict = self._judge(request, entries, now_ms)
        self._metrics.note(verdict.evidence.outcome)
        match verdict:
            case Hit(entry=entry, evidence=evidence):
                return _hit(request, entry, evidence, hops, now_ms)
            case NoHit(evidence=evidence, is_foreign=is_foreign):
                if is_foreign:
                    self._metrics.note("foreign")
                    _LOG.error("a cache entry belongs to another tenant or request")
                missed = CacheMissed(request=request, cache=evidence, hops=hops)
                return (
                    Emit(
                        topic=Topic.CACHE_MISSES,
                        key=request.request_id,
                        event=missed,
                        request=request,
                    ),
                )

    def _judge(
        self, request: InferenceRequested, entries: dict[str, CacheEntry], now_ms: float
    ) -> Hit | NoHit:
        if not self._is_looked_up(request):
            return BYPASS
        entry = entries.get(request.fingerprint)
        if entry is None:
            return MISS
        return judge(request, entry, ttl_s=self._ttl_s(request), now_ms=now_ms)


def _front_door_hop(work: Requested, request: InferenceRequested) -> Hop:
    """The hop before ours: from acceptance to the log."""
    service = "producer" if request.reply_partition == NO_REPLY else "gateway"
    return Hop(service=service, finished_ms=float(max(0, work.timestamp_ms - request.accepted_at)))


def _hit(
    request: InferenceRequested,
    entry: CacheEntry,
    evidence: CacheEvidence,
    hops: tuple[Hop, ...],
    now_ms: float,
) -> Iterable[Emit]:
    whole = whole_response(request, entry.response)
    if request.reply_partition != NO_REPLY:
        streams = request.stream and request.operation != Operation.EMBEDDINGS
        payload = replayed_stream(request, entry.response) if streams else whole
        chunk = ResultChunk(
            request_id=request.request_id,
            attempt=0,
            seq=0,
            kind=ChunkKind.END.value,
            payload=payload,
            headers=cache_headers(evidence),
        )
        yield chunk_emit(request, chunk)
    answer = Answer(
        response=whole,
        usage=entry.usage,
        finish_reason=entry.finish_reason,
        response_model=entry.response_model,
    )
    journey = Journey(hops=hops, cache=evidence)
    yield terminal_emit(request, completed(request, answer, now_ms=now_ms, journey=journey))
