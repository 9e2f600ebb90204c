"""Embeddings requests whose inputs were embedded before: what is known is not asked for again."""

from collections.abc import Coroutine, Sequence
from typing import Any

import msgspec

from services.model_caller.answers import Malformed
from services.model_caller.embedded_inputs import KnownInputs
from services.model_caller.embeddings import answer_of_known
from services.model_caller.ending import Ending, end_requests, end_uncalled, journey_of_member
from services.model_caller.serving import Serving
from services.model_caller.together import acknowledged, run_all
from services.model_caller.tools import Tools
from services.shared.domain.cancellations import CANCELLED
from services.shared.domain.emit import Emit
from services.shared.domain.events import (
    AttemptOutcome,
    CacheEvidence,
    CacheOutcome,
    ChunkKind,
    ModelCall,
    RequestBatch,
    RequestRouted,
    ResultChunk,
    UsageKind,
)
from services.shared.domain.evidence import route_headers
from services.shared.domain.ids import NO_REPLY
from services.shared.domain.ledger import row_of
from services.shared.domain.money import cost_nanousd
from services.shared.domain.terminal import Answer, chunk_emit, completed
from services.shared.domain.topics import Topic
from services.shared.ports.work import OpenRecord

_MS_PER_S = 1_000


class EmbeddingServing:
    """Looks the inputs of requests up, answers what is known, and has the rest served."""

    def __init__(
        self, tools: Tools, work: OpenRecord[RequestBatch], members: Sequence[RequestRouted]
    ) -> None:
        """Prepare.

        Args:
            tools: What every serving uses.
            work: The batch they came in.
            members: The requests; their targets are the same.
        """
        self._tools = tools
        self._work = work
        self._members = members
        self._requests = [member.request for member in members]

    def begin(self) -> "EmbeddingServing":
        """As ``Serving.begin``."""
        self._tools.journal.begin(self._work, self._requests, [1] * len(self._requests))
        return self

    async def run(self) -> None:
        """Serve them."""
        journal = self._tools.journal
        journal.take(self._work, self._requests)
        try:
            await run_all(await self._runs())
        finally:
            journal.leave(self._work, self._requests, has_started=True)

    async def _runs(self) -> list[Coroutine[Any, Any, None]]:
        """Look up; what follows for those that are known, and for the others together."""
        journal = self._tools.journal
        journal.take(self._work, self._requests)
        try:
            known = await self._tools.embedded.look_up(self._members)
            runs = [self._answer(it, known) for it in self._members if known.is_all(it.request)]
            missing = [it for it in self._members if not known.is_all(it.request)]
            if missing:
                runs.append(Serving(self._tools, self._work, missing, known=known).begin().run())
        finally:  # their partition may go now, or once the calls of the others have started
            journal.leave(self._work, self._requests, has_started=False)
        return runs

    async def _answer(self, member: RequestRouted, known: KnownInputs) -> None:
        request = member.request
        vectors = known.vectors[request.request_id]
        if self._tools.cancels.is_wanted(request):
            await end_uncalled(self._tools, self._work, member, CANCELLED)
            return
        try:
            answer = answer_of_known(request.body, vectors)
        except Malformed:  # the same vectors made a smaller answer in the other encoding
            await Serving(self._tools, self._work, [member]).run()
            return
        oldest = min(vector.kept_at for vector in vectors.values())
        age_s = max(0, int(self._tools.clock.now_ms() - oldest)) // _MS_PER_S
        evidence = CacheEvidence(outcome=CacheOutcome.EXACT_HIT.value, age_s=age_s)
        await self._tell(member, answer, evidence, known)
        target = member.route.targets[0]
        saved = cost_nanousd(answer.usage, target.price)
        self._tools.metrics.saved(target, saved)
        await self._work.emit(
            Emit(
                topic=Topic.USAGE_LEDGER,
                key=request.tenant,
                event=msgspec.structs.replace(
                    row_of(request, UsageKind.HIT, attempt=0, at_ms=self._tools.clock.now_ms()),
                    provider=target.provider,
                    provider_model=target.model,
                    usage=answer.usage,
                    saved_nanousd=saved,
                    price_version=target.price.version,
                ),
            )
        )
        await self._end(member, answer, evidence)

    async def _tell(
        self,
        member: RequestRouted,
        answer: Answer,
        evidence: CacheEvidence,
        known: KnownInputs,
    ) -> None:
        """Give the client its answer; wait until it has it."""
        request, target = member.request, member.route.targets[0]
        if request.reply_partition == NO_REPLY:
            return
        chunk = ResultChunk(
            request_id=request.request_id,
            run=self._tools.journal.owner,
            attempt=0,
            seq=0,
            kind=ChunkKind.END.value,
            payload=answer.response,
            headers={
                "x-cache": evidence.outcome,
                "age": str(evidence.age_s),
                **known.headers(request, target),
                **route_headers(member.route, target),
            },
        )
        await acknowledged(await self._work.emit(chunk_emit(request, chunk)))

    async def _end(self, member: RequestRouted, answer: Answer, evidence: CacheEvidence) -> None:
        request, now_ms = member.request, self._tools.clock.now_ms()
        since_ms = round(now_ms - request.accepted_at, 3)
        none = ModelCall(
            attempt=0, provider="", model="", started_ms=since_ms, finished_ms=since_ms
        )
        ending = Ending(
            member=member, call=none, outcome=AttemptOutcome.ANSWERED, price_version=None
        )
        journey = msgspec.structs.replace(
            journey_of_member(self._work.event, member), cache=evidence
        )
        terminal = completed(request, answer, now_ms=now_ms, journey=journey)
        await end_requests(self._tools, self._work, [ending], [terminal])
