"""Vectors of single inputs, kept in the cache: looked up before a call, written back after it."""

import asyncio
import hashlib
from collections.abc import Iterable, Mapping, Sequence

import msgspec
from prometheus_client import CollectorRegistry, Counter

from services.model_caller.embeddings import Known, Sent, inputs_of, vector_key
from services.model_caller.vectors import (
    Vector,
    value_of_vector,
    vector_of_json,
    vector_of_value,
)
from services.shared.domain.cache_times import CacheTimes
from services.shared.domain.errors import Unavailable
from services.shared.domain.events import InferenceRequested, Operation, RequestRouted, Target
from services.shared.domain.kept_vectors import prefix_of
from services.shared.ports.clock import Clock
from services.shared.ports.response_cache import ResponseCache, Stored

_FORM = b"1"
_LENGTH_BYTES = 8
_MOST_AT_ONCE = 256
_PACKED_AT_ONCE = 16
_MOST_WRITES = 64
_MS_PER_S = 1_000

_NONE: Known = {}


class KnownInputs(msgspec.Struct, frozen=True, kw_only=True):
    """What was found of the inputs of requests.

    Attributes:
        target: Provider and model that were looked up; vectors of others are not theirs.
        inputs: The inputs of requests that were looked up; a body may be large to read anew.
        vectors: Vectors by request.
    """

    target: tuple[str, str] = ("", "")
    inputs: Mapping[str, Sequence[bytes]] = {}
    vectors: Mapping[str, Known] = {}

    def of(self, request: InferenceRequested, target: Target) -> Known:
        """What need not be asked for when a request is sent to a target."""
        if (target.provider, target.model) != self.target:
            return _NONE
        return self.vectors.get(request.request_id, _NONE)

    def is_all(self, request: InferenceRequested) -> bool:
        """Whether nothing of a request has to be asked for."""
        known = self.vectors.get(request.request_id)
        return known is not None and all(item in known for item in self.inputs[request.request_id])

    def headers(self, request: InferenceRequested, target: Target) -> dict[str, str]:
        """Header ``x-millrace-embeddings-cached``: how many of how many inputs were known."""
        if request.request_id not in self.vectors:
            return {}
        inputs, known = self.inputs[request.request_id], self.of(request, target)
        return {CACHED_HEADER: f"{sum(item in known for item in inputs)}/{len(inputs)}"}


CACHED_HEADER = "x-millrace-embeddings-cached"
NO_INPUTS = KnownInputs()


class InputMetrics:
    """What is measured of the vectors kept."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Register the metrics."""
        self._inputs = Counter(
            "millrace_embedded_inputs",
            "Inputs of embeddings requests that were looked up, by outcome: known or missing.",
            ("outcome",),
            registry=registry,
        )
        self._lost = Counter(
            "millrace_embedded_inputs_lost",
            "Vectors that could not be looked up or kept, as the cache did not answer.",
            ("what",),
            registry=registry,
        )

    def looked_up(self, *, known: int, missing: int) -> None:
        """Inputs were looked up."""
        self._inputs.labels("known").inc(known)
        self._inputs.labels("missing").inc(missing)

    def lost(self, what: str, count: int) -> None:
        """The cache did not answer; what is ``looked_up`` or ``kept``."""
        self._lost.labels(what).inc(count)


class EmbeddedInputs:
    """The vectors kept."""

    def __init__(
        self, cache: ResponseCache, *, times: CacheTimes, clock: Clock, metrics: InputMetrics
    ) -> None:
        """Keep them in this cache."""
        self._cache = cache
        self._times = times
        self._clock = clock
        self._metrics = metrics
        self._writes: set[asyncio.Task[None]] = set()

    def serves(self, request: InferenceRequested) -> bool:
        """Whether vectors are looked up for a request."""
        return (
            request.operation == Operation.EMBEDDINGS
            and not request.cache_policy.no_cache
            and self._times.embedded_inputs_ttl_s(request.model) > 0
        )

    async def look_up(self, members: Sequence[RequestRouted]) -> KnownInputs:
        """Look all inputs of requests up at once; a cache that is away knows none."""
        target = members[0].route.targets[0]
        served = [member.request for member in members if self.serves(member.request)]
        inputs = {request.request_id: inputs_of(request.body) for request in served}
        asked = {
            request.request_id: (request, keys_of(request, inputs[request.request_id], target))
            for request in served
        }
        keys = list({key for _, own in asked.values() for key in own.values()})
        values: list[bytes | None] = []
        try:
            for begin in range(0, len(keys), _MOST_AT_ONCE):
                values += await self._cache.read(keys[begin : begin + _MOST_AT_ONCE])
        except Unavailable:
            self._metrics.lost("looked_up", len(keys) - len(values))
        found = dict(zip(keys, values, strict=False))
        vectors = {
            request_id: self._fresh(request, own, found)
            for request_id, (request, own) in asked.items()
        }
        known = sum(map(len, vectors.values()))
        total = sum(len(own) for _, own in asked.values())
        self._metrics.looked_up(known=known, missing=total - known)
        return KnownInputs(target=(target.provider, target.model), inputs=inputs, vectors=vectors)

    def keep(
        self,
        requests: Sequence[InferenceRequested],
        sent: Sequence[Mapping[bytes, Sent]],
        *,
        provider: str,
        model: str,
    ) -> None:
        """Write back what came for requests, in the background; too much at once is let go."""
        target = Target(provider=provider, model=model)
        pairs = [
            (request, came)
            for request, came in zip(requests, sent, strict=True)
            if came
            and not request.cache_policy.no_store
            and self._times.embedded_inputs_ttl_s(request.model) > 0
        ]
        if not pairs:
            return
        if len(self._writes) >= _MOST_WRITES:
            self._metrics.lost("kept", sum(len(came) for _, came in pairs))
            return
        task = asyncio.create_task(self._write(pairs, target))
        self._writes.add(task)
        task.add_done_callback(self._writes.discard)

    async def settle(self) -> None:
        """Wait until what was to be kept is written, or lost."""
        while self._writes:
            await asyncio.gather(*self._writes)

    def _fresh(
        self,
        request: InferenceRequested,
        own: Mapping[bytes, str],
        found: Mapping[str, bytes | None],
    ) -> dict[bytes, Vector]:
        """Those of its vectors that were found, can be read, and are not too old for it."""
        max_age_s = request.cache_policy.max_age_s
        since_ms = self._clock.now_ms() - max_age_s * _MS_PER_S if max_age_s >= 0 else 0.0
        fresh = {}
        for item, key in own.items():
            value = found.get(key)
            vector = vector_of_value(value) if value is not None else None
            if vector is not None and vector.kept_at >= since_ms:
                fresh[item] = vector
        return fresh

    async def _write(
        self,
        pairs: Sequence[tuple[InferenceRequested, Mapping[bytes, Sent]]],
        target: Target,
    ) -> None:
        now_ms = self._clock.now_ms()
        entries: dict[str, Stored] = {}
        for request, came in pairs:
            ttl_s = self._times.embedded_inputs_ttl_s(request.model)
            keys = keys_of(request, came, target)
            for number, (item, one) in enumerate(came.items()):
                if number % _PACKED_AT_ONCE == _PACKED_AT_ONCE - 1:
                    await asyncio.sleep(0)  # 0.3 ms a vector of 1,536 numbers
                vector = vector_of_json(
                    one.embedding, tokens=one.tokens, now_ms=now_ms, model=one.model
                )
                if vector is not None:
                    key = keys[item]
                    entries[key] = Stored(key=key, value=value_of_vector(vector), ttl_s=ttl_s)
        ready = list(entries.values())
        try:
            while ready:
                await self._cache.write(ready[:_MOST_AT_ONCE])
                del ready[:_MOST_AT_ONCE]
        except Unavailable:
            self._metrics.lost("kept", len(ready))


def keys_of(
    request: InferenceRequested, inputs: Iterable[bytes], target: Target
) -> dict[bytes, str]:
    """The cache's key of each of these inputs of a request, by the input's JSON text.

    A vector follows from its input, the model and the parameters; tenant and namespace stand in
    the key all the same, so that nobody learns by the time of an answer what others embed. Each
    part has its length before it, so that no two lists of parts are the same bytes.
    """
    parts = (
        _FORM,
        request.tenant.encode(),
        request.cache_policy.namespace.encode(),
        target.provider.encode(),
        target.model.encode(),
        vector_key(request.body),
    )
    common = hashlib.sha256()
    for part in parts:
        common.update(len(part).to_bytes(_LENGTH_BYTES, "big"))
        common.update(part)
    prefix = prefix_of(request.tenant)
    keys = {}
    for item in inputs:
        own = common.copy()
        own.update(item)
        keys[item] = prefix + own.hexdigest()
    return keys
