"""A model caller on scripted providers, and what it does with a batch."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec
from prometheus_client import CollectorRegistry

from services.model_caller.attempt_index import AttemptIndex
from services.model_caller.calls import Service
from services.model_caller.cancels import Cancels
from services.model_caller.decide import RetryBudget
from services.model_caller.embedded_inputs import EmbeddedInputs, InputMetrics
from services.model_caller.gate_metrics import GateMetrics
from services.model_caller.gates import Gates
from services.model_caller.journal import Journal
from services.model_caller.metrics import CallMetrics
from services.model_caller.processor import ModelCallerProcessor
from services.model_caller.prompt_marks import marking
from services.model_caller.reviews import ReviewOf, no_review
from services.model_caller.sharing import Sharing
from services.model_caller.sharing_metrics import SharingMetrics
from services.model_caller.tools import Tools
from services.shared.domain.cache_times import CacheTimes
from services.shared.domain.configuration import (
    Cache,
    Configuration,
    Model,
    OnUnknown,
    Retries,
    Timeouts,
)
from services.shared.domain.emit import Emit
from services.shared.domain.events import (
    ControlRequested,
    InferenceFinished,
    InferenceRequested,
    ModelCallAttempt,
    RequestBatch,
    RequestRouted,
    ResultChunk,
    Target,
    UsageRecorded,
)
from services.shared.domain.money import Price
from services.shared.ports.attempts import Place
from services.shared.ports.clock import Clock
from services.shared.ports.model_provider import ModelProvider
from tests.support.example_events import batch, requested, routed
from tests.support.fake_clock import clock_of_loop
from tests.support.memory_cache import MemoryCache
from tests.support.open_record import RecordInWork

NO_CACHE = Cache(embedded_inputs_ttl_s=0)
TIMEOUTS = Timeouts(first_token_s=10, inter_token_s=5, total_s=20)
PRICE = Price(input_nanousd_per_mtok=1_000_000_000, output_nanousd_per_mtok=2_000_000_000)
TARGETS = (
    Target(provider="first", model="one", price=PRICE),
    Target(provider="second", model="two", price=PRICE),
)
STREAMING = b'{"model":"small","stream":true,"messages":[{"role":"user","content":"How deep?"}]}'


class Logs:
    """Topics without a record; an ``AttemptLog`` and a ``ChunkHistory``."""

    async def reach(self, accepted_ms: Mapping[int, float]) -> None:
        """See ``AttemptLog``."""

    async def catch_up(self, partitions: Iterable[int]) -> None:
        """See ``AttemptLog``."""

    async def read(self, places: Iterable[Place]) -> Mapping[Place, ModelCallAttempt]:
        """See ``AttemptLog``."""
        del places
        return {}

    async def chunks_of(
        self, requests: Mapping[str, int], *, since_ms: float
    ) -> Mapping[str, Sequence[ResultChunk]]:
        """See ``ChunkHistory``."""
        del requests, since_ms
        return {}

    async def send(self, emit: Emit) -> None:
        """Take what is written beside the records in work."""


class Caller:
    """A model caller.

    Attributes:
        budget: Its repetitions.
        gates: Its way to the providers.
        registry: Its metrics.
        index: What it knows of calls.
        cancels: What it is to cancel.
        log: What it reads.
        cache: Where it keeps vectors.
        embedded: What it keeps of them.
        sharing: How its calls are made together.
    """

    def __init__(
        self,
        providers: Mapping[str, ModelProvider],
        *,
        clock: Clock | None = None,
        retries: Retries | None = None,
        timeouts: Timeouts = TIMEOUTS,
        slots: int = 100,
        jitter: Callable[[], float] = lambda: 0.0,
        cache: Cache = NO_CACHE,
        models: dict[str, Model] | None = None,
        review_of: ReviewOf = no_review,
        **services: Any,
    ) -> None:
        """Connect it; on fake time unless a clock is given."""
        clock = clock or clock_of_loop()
        configuration = Configuration(cache=cache, models=models or {})
        self.registry = CollectorRegistry()
        self.budget = RetryBudget(ratio=0.1)
        self.index = AttemptIndex()
        self.cancels = Cancels(clock)
        self.log = Logs()
        self.cache = MemoryCache()
        self.embedded = EmbeddedInputs(
            self.cache,
            times=CacheTimes(configuration),
            clock=clock,
            metrics=InputMetrics(self.registry),
        )
        self.sharing = Sharing(self.embedded, SharingMetrics(self.registry))
        journal = Journal(
            owner="run-1",
            holds_slot=False,
            index=self.index,
            clock=clock,
            catch_up=self.log.catch_up,
        )
        self._beating = asyncio.ensure_future(journal.beat(self.log.send))
        self.gates = Gates(
            {
                name: Service(provider, timeouts, max_in_flight=slots, **services)
                for name, provider in providers.items()
            },
            owner="run-1",
            clock=clock,
            jitter=jitter,
            metrics=GateMetrics(self.registry),
        )
        tools = Tools(
            gates=self.gates,
            retries=retries or Retries(),
            budget=self.budget,
            clock=clock,
            jitter=jitter,
            metrics=CallMetrics(
                self.registry,
                repetitions_left=lambda: self.budget.left(now_s=clock.monotonic_s()),
            ),
            journal=journal,
            cancels=self.cancels,
            log=self.log,
            chunks=self.log,
            on_unknown=lambda _alias: OnUnknown.RETRY,
            pass_by=lambda _place: None,
            embedded=self.embedded,
            sharing=self.sharing,
            marks_prompts=marking(configuration.models),
            review_of=review_of,
        )
        self.processor = ModelCallerProcessor(tools)

    def cancel(self, request: InferenceRequested) -> None:
        """Hear that a request is to be cancelled."""
        control = ControlRequested(
            action="cancel", request_id=request.request_id, tenant=request.tenant, at=0, reason=""
        )
        self.cancels.hear(control)

    async def serve(self, event: RequestBatch) -> "Served":
        """Serve a batch to its end."""
        work = RecordInWork(event)
        await self.processor.process([work])
        await work.ended.wait()
        return Served(work)


class Served:
    """What a batch became."""

    def __init__(self, work: RecordInWork[RequestBatch]) -> None:
        """Sort its emits."""
        self.work = work
        events = [(emit, emit.event) for emit in work.emitted]
        self.chunks = [event for _, event in events if isinstance(event, ResultChunk)]
        self.finished = [event for _, event in events if isinstance(event, InferenceFinished)]
        self.attempts = [event for _, event in events if isinstance(event, ModelCallAttempt)]
        self.rows = [event for _, event in events if isinstance(event, UsageRecorded)]

    @property
    def one(self) -> InferenceFinished:
        """The terminal record of the only request."""
        (finished,) = self.finished
        return finished

    @property
    def code(self) -> str:
        """The error of the only request; empty = it has none."""
        return self.one.error.code if self.one.error is not None else ""

    def of(self, request_id: str) -> InferenceFinished:
        """The terminal record of a request."""
        (finished,) = [it for it in self.finished if it.request_id == request_id]
        return finished


def member(
    number: int = 1, *, targets: tuple[Target, ...] = TARGETS[:1], **changes: Any
) -> RequestRouted:
    """A request on its way to these targets, whose client waits on partition 3."""
    changes = {"reply_partition": 3, **changes}
    event = routed(number, request=requested(number, **changes))
    return msgspec.structs.replace(
        event, route=msgspec.structs.replace(event.route, targets=targets)
    )


def streaming(number: int = 1, **changes: Any) -> RequestRouted:
    """The same, of a request that wants a stream."""
    return member(number, **{"body": STREAMING, "stream": True, **changes})


def embedding(number: int, body: bytes, **changes: Any) -> RequestRouted:
    """The same, of a request for embeddings."""
    return member(
        number, **{"body": body, "operation": "embeddings", "estimated_input_tokens": 3, **changes}
    )


def merged(*members: RequestRouted) -> RequestBatch:
    """A batch whose members share a call."""
    return batch(*members, merge=True)
