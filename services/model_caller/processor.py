"""Takes batches apart, has their members served, and closes them."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterator, Sequence
from functools import partial
from typing import Any

from services.model_caller.embedding_serving import EmbeddingServing
from services.model_caller.ending import end_uncalled, journey_of_member
from services.model_caller.packing import first_fit
from services.model_caller.put_off_record import as_batch
from services.model_caller.resuming import LookUps, Resuming
from services.model_caller.serving import Serving
from services.model_caller.shared_inputs import company_of, load_of
from services.model_caller.together import acknowledged, run_all
from services.model_caller.tools import Tools
from services.shared.codec.headers import ATTEMPT, attempts_from
from services.shared.domain.cancellations import CANCELLED
from services.shared.domain.errors import MustStop, PoisonRecord
from services.shared.domain.events import RequestBatch, RequestRouted, Target
from services.shared.domain.terminal import emits_for_expiry
from services.shared.domain.topics import BATCH_TOPICS, RETRY_TOPICS, Topic
from services.shared.ports.work import OpenRecord

_LOG = logging.getLogger(__name__)
_Run = Callable[[], Coroutine[Any, Any, None]]
CONSUMES = BATCH_TOPICS
DELAYED = RETRY_TOPICS
READS = (*DELAYED, Topic.MODEL_CALL_ATTEMPTS, Topic.PROVIDER_HEALTH, Topic.CONTROL)
EMITS = (
    Topic.RESULT_CHUNKS,
    Topic.INFERENCE_RESULTS,
    Topic.USAGE_LEDGER,
    Topic.MODEL_CALL_ATTEMPTS,
    Topic.PROVIDER_HEALTH,
    *RETRY_TOPICS,
    Topic.FEEDBACK,
)


class ModelCallerProcessor:
    """Serves batches; every member ends in its terminal record."""

    def __init__(self, tools: Tools) -> None:
        """Use connected providers."""
        self._tools = tools
        self._look_ups = LookUps(tools)
        self._tasks: set[asyncio.Task[None]] = set()

    async def process(self, works: Sequence[OpenRecord[RequestBatch | RequestRouted]]) -> None:
        """Start the calls of these batches; they finish by themselves.

        What is to be called first is settled before anything else is awaited: so a request that is
        in two of the batches is called once, and the starts of all go out together.

        Raises:
            Unavailable: What was called for them before cannot be read. Retriable.
        """
        batches = [as_batch(work) for work in works]
        await self._tools.log.reach(_accepted(batches))
        for work in batches:
            try:
                running = [run for group in _groups(work.event) for run in self._runs(work, group)]
            except Exception as error:  # noqa: BLE001  # whatever it is, the others go on
                _give_up(work, error)
                continue
            task = asyncio.create_task(self._serve_batch(work, running))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _serve_batch(self, work: OpenRecord[RequestBatch], running: Sequence[_Run]) -> None:
        try:
            if len(running) == 1:
                await running[0]()
            else:
                await run_all(run() for run in running)
        except MustStop:
            _LOG.info("a batch is left to whoever comes next", extra={"batch_id": _id_of(work)})
        except Exception as error:  # noqa: BLE001  # whatever it is, the record is the suspect
            _give_up(work, error)
        else:
            work.finish()

    def _runs(
        self, work: OpenRecord[RequestBatch], members: Sequence[RequestRouted]
    ) -> Iterator[_Run]:
        """What is to be done for members that may share a call."""
        now_ms = self._tools.clock.now_ms()
        was_called = attempts_from(work.headers.get(ATTEMPT)) > 0
        fresh = []
        for member in members:
            request = member.request
            if was_called or self._tools.journal.find(request.request_id) is not None:
                yield Resuming(self._tools, work, member, self._look_ups).run
            elif 0 < request.deadline_at <= now_ms:
                yield partial(self._expire, work, member)
            elif self._tools.cancels.is_wanted(request):
                yield partial(end_uncalled, self._tools, work, member, CANCELLED)
            else:
                fresh.append(member)
        if fresh:
            yield from self._servings(work, fresh)

    def _servings(
        self, work: OpenRecord[RequestBatch], fresh: Sequence[RequestRouted]
    ) -> Iterator[_Run]:
        """Have requests served that may share a call, as many at once as a call may hold."""
        limits = self._tools.gates.call_limits(fresh[0].route.targets[0])
        loads = (load_of(member.request) for member in fresh)
        for positions in first_fit(loads, limits) if len(fresh) > 1 else [[0]]:
            members = [fresh[i] for i in positions]
            if any(self._tools.embedded.serves(member.request) for member in members):
                yield EmbeddingServing(self._tools, work, members).begin().run
            else:
                yield Serving(self._tools, work, members).begin().run

    async def _expire(self, work: OpenRecord[RequestBatch], member: RequestRouted) -> None:
        """End a request that comes too late."""
        now_ms = self._tools.clock.now_ms()
        journey = journey_of_member(work.event, member)
        for emit in emits_for_expiry(member.request, now_ms=now_ms, journey=journey):
            await acknowledged(await work.emit(emit))


def _give_up(work: OpenRecord[RequestBatch], error: Exception) -> None:
    _LOG.error("a batch could not be served", extra={"batch_id": _id_of(work)}, exc_info=error)
    work.bury(PoisonRecord("processor_error", type(error).__name__))


def _id_of(work: OpenRecord[RequestBatch]) -> str:
    return work.event.batch_id


def _accepted(works: Sequence[OpenRecord[RequestBatch]]) -> dict[int, float]:
    """When the oldest request of each partition was accepted, unix ms."""
    oldest: dict[int, float] = {}
    for work in works:
        at_ms = min(member.request.accepted_at for member in work.event.members)
        oldest[work.partition] = min(at_ms, oldest.get(work.partition, at_ms))
    return oldest


def _groups(batch: RequestBatch) -> list[list[RequestRouted]]:
    """Members that share a call: each his own, or all whose calls differ in nothing but inputs.

    Those that may go to other targets, at other prices, are not asked for together.
    """
    if not batch.merge:
        return [[member] for member in batch.members]
    groups: dict[tuple[bytes, tuple[Target, ...]], list[RequestRouted]] = {}
    alone = []
    for member in batch.members:
        company = company_of(member.request)
        if company is None:
            alone.append([member])
        else:
            groups.setdefault((company.shape, member.route.targets), []).append(member)
    return [*groups.values(), *alone]
