"""All requests of a poll: admit, look up in one round trip, answer, let join, or pass on."""

import logging
from collections.abc import Callable, Iterable, Sequence
from itertools import chain

import msgspec
from prometheus_client import CollectorRegistry, Counter

from services.cache_lookup.decide import (
    BYPASS,
    MISS,
    Ended,
    Hit,
    NoHit,
    is_expired,
    is_looked_up,
    judge,
)
from services.cache_lookup.emits import Hops, hit, passed_on
from services.cache_lookup.flights import Joiner
from services.cache_lookup.joining import Joining, Requested, Waiting
from services.cache_lookup.similar.seeking import Seeking, Sought
from services.cache_lookup.verified.reask import Reasks
from services.shared.codec.headers import RETRY, is_signed
from services.shared.codec.records import decode_record
from services.shared.domain.cache_times import CacheTimes
from services.shared.domain.emit import Emit
from services.shared.domain.errors import PoisonRecord, PublicError, Unavailable
from services.shared.domain.events import CacheEntry, CacheOutcome, Hop, InferenceRequested
from services.shared.domain.ids import NO_REPLY
from services.shared.domain.terminal import Journey, emits_for_expiry, emits_for_failure
from services.shared.domain.topics import REQUEST_TOPICS, Topic
from services.shared.ports.clock import Clock
from services.shared.ports.response_cache import ResponseCache

_LOG = logging.getLogger(__name__)
CONSUMES = REQUEST_TOPICS
READS = (
    Topic.CACHE_MISSES,
    Topic.INFERENCE_RESULTS,
    Topic.CACHE_ENTRIES,
    Topic.CACHE_JUDGEMENTS,
    Topic.CONTROL,
)
EMITS = (
    Topic.CACHE_MISSES,
    Topic.RESULT_CHUNKS,
    Topic.INFERENCE_RESULTS,
    Topic.USAGE_LEDGER,
    Topic.CONTROL,
)


class NotAdmitted(msgspec.Struct, frozen=True):
    """A record that no gateway of ours signed is no request that is served.

    Attributes:
        request: As much of it as may be believed.
        error: Why.
    """

    request: InferenceRequested
    error: PublicError


Admitted = InferenceRequested | NotAdmitted | PoisonRecord
Readmit = Callable[[Requested, float], Admitted]
"""Parses and extracts anew a record that no gateway of ours signed; the second is unix ms."""


class LookupMetrics:
    """What the cache did."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Register the metrics."""
        self._outcomes = Counter(
            "millrace_cache_lookups",
            "Requests by what the cache said; error = no answer in time, ended = met again.",
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
        joining: Joining,
        clock: Clock,
        times: CacheTimes,
        secret: bytes,
        readmit: Readmit,
        metrics: LookupMetrics,
        saw: Callable[[int], None] = _ignore,
        seeking: Seeking | None = None,
        reasks: Reasks | None = None,
    ) -> None:
        """Use a cache.

        Args:
            cache: Where answers are kept.
            joining: Lets identical requests share a call.
            clock: The time.
            times: How long they are.
            secret: What gateways sign requests with.
            readmit: Admission of unsigned records.
            metrics: Where outcomes are counted.
            saw: Told the priority of every request.
            seeking: Takes what the exact tier missed to the semantic one; None = there is none.
            reasks: Asks again about hits of the verified mode; None = nothing does.
        """
        self._seeking = seeking
        self._reasks = reasks
        self._saw = saw
        self._cache = cache
        self._joining = joining
        self._clock = clock
        self._times = times
        self._secret = secret
        self._readmit = readmit
        self._metrics = metrics

    async def process(self, works: Sequence[Requested]) -> None:
        """Answer for each request of a poll.

        Those that join another one, or are compared by meaning, stay open.

        Args:
            works: The requests.
        """
        await self._joining.informed(works)
        if self._seeking is not None:
            works = [work for work in works if not self._seeking.holds(work)]
        answers = await self._answers(works, self._clock.now_ms())
        sought = []
        for work, answer in zip(works, answers, strict=True):
            if isinstance(answer, Sought):
                sought.append(answer)
            elif isinstance(answer, PoisonRecord):
                work.bury(answer)
            else:
                await self._deliver(work, answer)
        if self._seeking is not None and sought:
            self._seeking.take(sought)

    async def conclude(self, sought: Sought, verdict: Hit | NoHit) -> None:
        """Answer for a request that was compared by meaning."""
        if isinstance(verdict, Hit):
            answer: Iterable[Emit] | Waiting = chain(
                self._hit(sought.request, verdict, sought.hops),
                self._asked_again(sought.request, verdict),
            )
        else:
            answer = self._not_hit(sought.record, sought.request, verdict, sought.hops)
        await self._deliver(sought.record, answer)

    async def _deliver(self, work: Requested, answer: Iterable[Emit] | Waiting) -> None:
        if isinstance(answer, Joiner):
            await self._joining.announce(answer)
            return
        for emit in answer:
            await work.emit(emit)
        work.finish()

    async def _answers(
        self, works: Sequence[Requested], now_ms: float
    ) -> list[Iterable[Emit] | Waiting | Sought | PoisonRecord]:
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
            request
            if isinstance(request, PoisonRecord)
            else self._answer(work, request, entries, now_ms)
            for work, request in zip(works, admitted, strict=True)
        ]

    def _admit(self, work: Requested, now_ms: float) -> Admitted:
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
    ) -> Iterable[Emit] | Waiting | Sought:
        if isinstance(request, NotAdmitted):
            hops = (_front_door_hop(work, request.request),)
            return emits_for_failure(
                request.request, request.error, now_ms=now_ms, journey=Journey(hops=hops)
            )
        self._saw(request.priority)
        if self._joining.has_ended(work, request):
            self._metrics.note("ended")
            return ()
        hops = (_front_door_hop(work, request),)
        if is_expired(request, now_ms=now_ms):
            return emits_for_expiry(request, now_ms=now_ms, journey=Journey(hops=hops))
        verdict = self._judge(request, entries, now_ms)
        if isinstance(verdict, Ended):
            self._metrics.note("ended")
            return ()
        if isinstance(verdict, Hit):
            return self._hit(request, verdict, hops)
        if verdict.is_foreign:
            self._metrics.note("foreign")
            _LOG.error("a cache entry belongs to another tenant or request")
        seeking = self._seeking
        if seeking is not None and verdict is not BYPASS and seeking.takes(request):
            return Sought(work, request, hops)
        return self._not_hit(work, request, verdict, hops)

    def _hit(self, request: InferenceRequested, verdict: Hit, hops: Hops) -> Iterable[Emit]:
        evidence = verdict.evidence
        self._metrics.note(evidence.outcome)
        now_ms = self._clock.now_ms()
        return hit(request, verdict.entry, evidence, hops=hops, now_ms=now_ms)

    def _asked_again(self, request: InferenceRequested, verdict: Hit) -> Iterable[Emit]:
        if self._reasks is None:
            return ()
        now_ms = self._clock.now_ms()
        return self._reasks.emits(request, verdict.evidence, now_ms=now_ms)

    def _not_hit(
        self, work: Requested, request: InferenceRequested, verdict: NoHit, hops: Hops
    ) -> Iterable[Emit] | Waiting:
        placed = self._joining.place(
            work,
            request,
            bypasses=verdict is BYPASS,
            is_retry=_is_retry(work, request),
            hops=hops,
        )
        if placed is not None:
            self._metrics.note(CacheOutcome.JOINED)
            return placed
        self._metrics.note(verdict.evidence.outcome)
        return (passed_on(request, verdict.evidence, hops=hops),)

    def _judge(
        self, request: InferenceRequested, entries: dict[str, CacheEntry], now_ms: float
    ) -> Hit | Ended | NoHit:
        if not self._is_looked_up(request):
            return BYPASS
        entry = entries.get(request.fingerprint)
        if entry is None:
            return MISS
        return judge(request, entry, ttl_s=self._ttl_s(request), now_ms=now_ms)


def _is_retry(work: Requested, request: InferenceRequested) -> bool:
    """Whether a gateway says so; a record that was admitted anew says nothing of itself."""
    return work.headers.get(RETRY) == b"1" and request is work.event


def _front_door_hop(work: Requested, request: InferenceRequested) -> Hop:
    """The hop before ours: from acceptance to the log."""
    service = "producer" if request.reply_partition == NO_REPLY else "gateway"
    return Hop(service=service, finished_ms=float(max(0, work.timestamp_ms - request.accepted_at)))
