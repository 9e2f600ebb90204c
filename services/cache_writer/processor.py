"""Keeps the answers of a poll in one round trip."""

from collections.abc import Iterable, Sequence

from prometheus_client import CollectorRegistry, Counter

from services.cache_writer.decide import Keep, admit_answer, announced
from services.shared.codec.records import encode_record
from services.shared.domain.cache_times import CacheTimes
from services.shared.domain.configuration import Cache
from services.shared.domain.emit import Emit
from services.shared.domain.errors import Unavailable
from services.shared.domain.events import InferenceFinished
from services.shared.domain.topics import Topic
from services.shared.ports.response_cache import ResponseCache, Stored
from services.shared.ports.work import OpenRecord

CONSUMES = (Topic.INFERENCE_RESULTS,)
EMITS = (Topic.CACHE_ENTRIES, Topic.CACHE_JUDGEMENTS)


class WriterMetrics:
    """What was kept."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Register the metrics."""
        self._writes = Counter(
            "millrace_cache_writes",
            "Answers by what became of them: kept, passed (not for the cache), or lost.",
            ("outcome",),
            registry=registry,
        )

    def note(self, outcome: str, count: int = 1) -> None:
        """Count answers."""
        self._writes.labels(outcome).inc(count)


class CacheWriterProcessor:
    """Terminal records in; cache entries out."""

    def __init__(
        self,
        *,
        cache: ResponseCache,
        times: CacheTimes,
        policy: Cache,
        metrics: WriterMetrics,
    ) -> None:
        """Use a cache.

        Args:
            cache: Where answers are kept.
            times: How long they are.
            policy: Largest answer kept.
            metrics: Where outcomes are counted.
        """
        self._cache = cache
        self._times = times
        self._policy = policy
        self._metrics = metrics

    async def process(
        self, works: Sequence[OpenRecord[InferenceFinished]], now_ms: float
    ) -> Sequence[Iterable[Emit]]:
        """Keep what may be kept; answers that cannot be written are counted and let go."""
        kept = []
        emits: list[list[Emit]] = []
        for work in works:
            emits.append([])
            finished = work.event
            verdict = admit_answer(
                finished,
                ttl_s=self._times.ttl_s(finished.model, finished.operation),
                max_body_bytes=self._policy.max_body_bytes,
            )
            if isinstance(verdict, Keep):
                value = encode_record(verdict.entry)
                kept.append(Stored(key=verdict.entry.fingerprint, value=value, ttl_s=verdict.ttl_s))
                entry = announced(finished, verdict, now_ms=now_ms)
                emits[-1].append(Emit(topic=Topic.CACHE_ENTRIES, key=entry.entry_id, event=entry))
        self._metrics.note("passed", len(works) - len(kept))
        if kept:
            try:
                await self._cache.write(kept)
            except Unavailable:
                self._metrics.note("lost", len(kept))
                return [() for _ in works]
            self._metrics.note("kept", len(kept))
        return emits
