"""Takes batches apart, has their members served, and closes them."""

import asyncio
import logging
from collections.abc import Sequence

from services.model_caller.embeddings import merge_key
from services.model_caller.put_off_record import as_batch
from services.model_caller.serving import Serving, Tools, journey_of_member
from services.model_caller.together import run_all
from services.shared.domain.errors import MustStop, PoisonRecord
from services.shared.domain.events import RequestBatch, RequestRouted, Target
from services.shared.domain.terminal import emits_for_expiry
from services.shared.domain.topics import BATCH_TOPICS, RETRY_TOPICS, Topic
from services.shared.ports.work import OpenRecord

_LOG = logging.getLogger(__name__)
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
)


class ModelCallerProcessor:
    """Serves batches; every member ends in its terminal record."""

    def __init__(self, tools: Tools) -> None:
        """Use connected providers."""
        self._tools = tools
        self._tasks: set[asyncio.Task[None]] = set()

    async def process(self, works: Sequence[OpenRecord[RequestBatch | RequestRouted]]) -> None:
        """Start the calls of these batches; they finish by themselves."""
        for work in works:
            task = asyncio.create_task(self._serve_batch(as_batch(work)))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _serve_batch(self, work: OpenRecord[RequestBatch]) -> None:
        try:
            groups = _groups(work.event)
            if len(groups) == 1:
                await self._serve(work, groups[0])
            else:
                await run_all(self._serve(work, group) for group in groups)
        except MustStop:
            _LOG.info("a batch is left to whoever comes next", extra={"batch_id": _id_of(work)})
        except Exception as error:  # noqa: BLE001  # whatever it is, the record is the suspect
            _LOG.exception("a batch could not be served", extra={"batch_id": _id_of(work)})
            work.bury(PoisonRecord("processor_error", type(error).__name__))
        else:
            work.finish()

    async def _serve(
        self, work: OpenRecord[RequestBatch], members: Sequence[RequestRouted]
    ) -> None:
        now_ms = self._tools.clock.now_ms()
        live = []
        for member in members:
            if 0 < member.request.deadline_at <= now_ms:
                journey = journey_of_member(work.event, member)
                for emit in emits_for_expiry(member.request, now_ms=now_ms, journey=journey):
                    await work.emit(emit)
            else:
                live.append(member)
        if live:
            await Serving(self._tools, work, live).run()


def _id_of(work: OpenRecord[RequestBatch]) -> str:
    return work.event.batch_id


def _groups(batch: RequestBatch) -> list[list[RequestRouted]]:
    """Members that share a call: each his own, or all whose calls differ in nothing but inputs.

    Those that may go to other targets, at other prices, are not asked for together.
    """
    if not batch.merge:
        return [[member] for member in batch.members]
    groups: dict[tuple[bytes, tuple[Target, ...]], list[RequestRouted]] = {}
    for member in batch.members:
        kind = (merge_key(member.request.body), member.route.targets)
        groups.setdefault(kind, []).append(member)
    return list(groups.values())
