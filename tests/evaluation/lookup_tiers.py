"""Both tiers of the cache as the look-up has them, with a stopwatch on their parts."""

from collections.abc import Awaitable, Callable, Sequence

from prometheus_client import CollectorRegistry

from services.cache_lookup.joining import Joining
from services.cache_lookup.processor import CacheLookupProcessor, LookupMetrics
from services.cache_lookup.producers import readmission
from services.cache_lookup.similar.metrics import SemanticMetrics
from services.cache_lookup.similar.tier import SemanticTier
from services.shared.adapters.minilm.encoder import MiniLmEncoder
from services.shared.adapters.numpy_semantic_index import NumpySemanticIndex
from services.shared.adapters.redis_response_cache import RedisResponseCache
from services.shared.adapters.system_clock import SystemClock
from services.shared.codec.headers import SIGNATURE, signature
from services.shared.codec.records import encode_record
from services.shared.domain.cache_times import CacheTimes
from services.shared.domain.configuration import Cache, Configuration, Model, ModelTarget
from services.shared.domain.configuration_semantic import Semantic, SemanticMode
from services.shared.domain.emit import Emit
from services.shared.domain.events import InferenceRequested, SemanticKey
from services.shared.domain.semantic_modes import SemanticModes
from services.shared.ports.encoder import Vectors
from services.shared.ports.semantic_index import Near
from services.shared.ports.work import Written
from tests.evaluation.stopwatch import Stopwatch
from tests.support.open_record import RecordInWork, written_at

LookUp = Callable[[Sequence[InferenceRequested], Stopwatch], Awaitable[list[str]]]
"""Looks requests up at once, with a stopwatch on it; returns what came of each."""

MODEL = "small"
CLOCK = SystemClock()

ROUND_TRIP, AROUND = "Redis round trip", "admission, decoding, decision"
KEY, ENCODING, SEARCH = "question and key", "encoding", "search"
CHOICE, BODY = "guards and choice", "body from Redis"

_SECRET = b"secret"
_CONFIGURATION = Configuration(
    cache=Cache(semantic=Semantic(mode=SemanticMode.GUARDED)),
    models={MODEL: Model(targets=(ModelTarget(provider="simulator"),))},
)
_WITHIN_S = 60.0
"""No look-up is cut short here; the service gives it 50 ms."""


class DiscardingRecord(RecordInWork[InferenceRequested]):
    """A record that a gateway signed; what is emitted for it goes nowhere and is not encoded."""

    def __init__(self, request: InferenceRequested) -> None:
        """Sign it."""
        self._value = encode_record(request)
        headers = {SIGNATURE: signature(_SECRET, self._value)}
        at_ms = int(CLOCK.now_ms())
        super().__init__(
            request, headers=headers, topic="inference-requests-p0", timestamp_ms=at_ms
        )

    @property
    def value(self) -> bytes:
        """Its bytes."""
        return self._value

    async def emit(self, emit: Emit) -> Awaitable[Written]:
        """Keep it unencoded."""
        self.emitted.append(emit)
        return written_at(0)


class WatchedCache:
    """The exact cache; a read is a part of its own."""

    def __init__(self, cache: RedisResponseCache) -> None:
        """Watch one."""
        self.watch = Stopwatch()
        self.parts = (ROUND_TRIP, AROUND)
        self.write = cache.write
        self.delete = cache.delete
        self.beginnings = cache.beginnings
        self._read = cache.read

    async def read(self, keys: Sequence[str]) -> Sequence[bytes | None]:
        """See ``ResponseCache``."""
        part, then = self.parts
        with self.watch.part(part, then=then):
            return await self._read(keys)


class WatchedIndex(NumpySemanticIndex):
    """The index; what follows a search is choice."""

    watch = Stopwatch()

    async def nearest(
        self, keys: Sequence[SemanticKey], *, most: int, now_ms: float
    ) -> Sequence[Sequence[Near]]:
        """See ``SemanticIndex``."""
        with self.watch.part(SEARCH, then=CHOICE):
            return await super().nearest(keys, most=most, now_ms=now_ms)


class WatchedEncoder:
    """The encoder; around it keys are made."""

    def __init__(self, encoder: MiniLmEncoder) -> None:
        """Watch one."""
        self.watch = Stopwatch()
        self.build = encoder.build
        self.dimensions = encoder.dimensions
        self.knows = encoder.knows
        self._encode = encoder.encode

    async def encode(self, texts: Sequence[str]) -> Vectors:
        """See ``Encoder``."""
        with self.watch.part(ENCODING, then=KEY):
            return await self._encode(texts)


class ExactTier:
    """The look-up's processor without a semantic tier."""

    def __init__(self, cache: WatchedCache) -> None:
        """Look up in a cache."""
        self._cache = cache
        registry = CollectorRegistry()
        self._processor = CacheLookupProcessor(
            cache=cache,
            joining=Joining(clock=CLOCK, registry=registry),
            clock=CLOCK,
            times=CacheTimes(_CONFIGURATION),
            secret=_SECRET,
            readmit=readmission(_CONFIGURATION),
            metrics=LookupMetrics(registry),
        )

    async def look_up(self, requests: Sequence[InferenceRequested], watch: Stopwatch) -> list[str]:
        """Look requests up as one poll; returns where each goes on."""
        records = [DiscardingRecord(request) for request in requests]
        self._cache.parts = (ROUND_TRIP, AROUND)
        self._cache.watch = watch
        with watch.run(AROUND, requests=len(requests)):
            await self._processor.process(records)
        return [record.emitted[0].topic.value for record in records]


class ComparingTier:
    """A semantic tier over an index."""

    def __init__(self, encoder: WatchedEncoder, index: WatchedIndex, cache: WatchedCache) -> None:
        """Put it together as the service does."""
        self._watched = (encoder, index, cache)
        self._cache = cache
        self._tier = SemanticTier(
            encoder=encoder,
            index=index,
            cache=cache,
            clock=CLOCK,
            modes=SemanticModes(_CONFIGURATION),
            policy=_CONFIGURATION.cache.semantic,
            times=CacheTimes(_CONFIGURATION),
            gatekeeper=None,
            metrics=SemanticMetrics(CollectorRegistry()),
        )

    async def look_up(self, requests: Sequence[InferenceRequested], watch: Stopwatch) -> list[str]:
        """Look requests up together; returns what came of each."""
        self._cache.parts = (BODY, CHOICE)
        for it in self._watched:
            it.watch = watch
        with watch.run(KEY, requests=len(requests)):
            verdicts = await self._tier.look_up(requests, within_s=_WITHIN_S)
        return [verdict.evidence.outcome for verdict in verdicts]
