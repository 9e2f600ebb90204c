"""Calls of several batches as one: what comes while calls of a lane are under way is the next.

A lane is a provider's endpoint, a model, and what has to be equal of bodies; tenants share one only
where the provider isolates inputs. Nobody waits for company: a call leaves at once while its lane
may have more of them under way (``pace.py``).
"""

import asyncio
from collections.abc import Sequence
from functools import partial

import msgspec

from services.model_caller.calls import Call, Reply, Service, Sink, ask
from services.model_caller.completions import count_of_prompts
from services.model_caller.decide import OVERLOADED, CallFailed, failure, is_of_one_member
from services.model_caller.embedded_inputs import EmbeddedInputs
from services.model_caller.embeddings import inputs_of
from services.model_caller.pace import Pace
from services.model_caller.packing import Load, first_call
from services.model_caller.shared_inputs import Company
from services.model_caller.sharing_metrics import SharingMetrics
from services.model_caller.stopping import Stop, Stopped
from services.shared.domain.cancellations import CANCELLED
from services.shared.domain.events import Operation
from services.shared.domain.money import Usage

_MOST_LANES = 1_024
_MS_PER_S = 1_000

LATE = msgspec.structs.replace(
    failure("deadline_exceeded", "The request's deadline passed during the call."),
    is_retriable=False,
    is_this_target_only=False,
)

LaneName = tuple[str, str, str]
"""Provider, model and operation, as metrics name a lane."""

LaneKey = tuple[LaneName, int, Company]
"""The same with the endpoint and who may share calls."""


class _Waiting:
    """A call that waits to be made."""

    __slots__ = ("call", "inputs", "is_left", "load", "made", "now_ms", "reply", "since_s")

    def __init__(self, call: Call, *, now_ms: float, now_s: float) -> None:
        self.call = call
        self.inputs = _inputs_of(call)
        self.load = Load(
            len(set(self.inputs)), sum(it.estimated_input_tokens for it in call.requests)
        )
        self.now_ms = now_ms
        self.since_s = now_s
        self.is_left = False
        self.made: _Made | None = None
        self.reply: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()

    @property
    def urgency(self) -> tuple[int, float]:
        return self.call.requests[0].priority, self.call.deadline_s


class _Made:
    """A call that was made for those who waited."""

    __slots__ = ("stop", "together")

    def __init__(self, together: Sequence[_Waiting]) -> None:
        self.together = together
        self.stop = Stop()
        for it in together:
            it.made = self


class _Lane:
    """Calls that may be made together."""

    __slots__ = ("began", "name", "pace", "service", "under_way", "waiting")

    def __init__(self, name: LaneName, service: Service) -> None:
        self.name = name
        self.service = service
        self.pace = Pace()
        self.began = 0
        self.under_way = 0
        self.waiting: list[_Waiting] = []


class Sharing:
    """The way from servings to upstream calls."""

    def __init__(self, embedded: EmbeddedInputs, metrics: SharingMetrics) -> None:
        """Start with no calls.

        Args:
            embedded: Where vectors are kept that come.
            metrics: What is measured.
        """
        self._embedded = embedded
        self._metrics = metrics
        self._lanes: dict[LaneKey, _Lane] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def ask(
        self,
        service: Service,
        call: Call,
        chunks: Sink | None,
        *,
        provider: str,
        now_ms: float,
    ) -> Reply:
        """Make a call, by itself or together with others, and keep what is worth it.

        Args:
            service: The provider.
            call: What is asked.
            chunks: Where a streamed answer goes as it comes; None = it is wanted in one piece.
            provider: Name of the provider.
            now_ms: Unix ms.
        """
        key = _key_of(service, call, provider)
        if key is None:
            reply = await ask(service, call, chunks, now_ms=now_ms)
        else:
            reply = await self._shared(service, call, key, now_ms=now_ms)
        if reply.sent:
            self._embedded.keep(call.requests, reply.sent, provider=provider, model=call.model)
        return reply

    async def _shared(self, service: Service, call: Call, key: LaneKey, *, now_ms: float) -> Reply:
        loop = asyncio.get_running_loop()
        lane = self._lane(key, service)
        waiting = _Waiting(call, now_ms=now_ms, now_s=loop.time())
        lane.waiting.append(waiting)
        loop.call_soon(self._pump, lane)  # what else is ready now comes along
        try:
            async with asyncio.timeout_at(call.deadline_s):
                return await call.stop.or_stop(partial(asyncio.shield, waiting.reply))
        except Stopped:
            gone = CallFailed(error=CANCELLED, is_retriable=False, is_this_target_only=False)
        except TimeoutError:
            gone = LATE
        return _left(waiting, gone)

    def _pump(self, lane: _Lane) -> None:
        """Begin the calls that may begin, the most urgent first."""
        lane.waiting = [it for it in lane.waiting if not it.is_left]
        while lane.waiting and lane.under_way < int(lane.pace.calls):
            lane.waiting.sort(key=lambda it: it.urgency)
            limits = lane.service.call_limits
            positions = set(first_call([it.load for it in lane.waiting], limits))
            together = [it for i, it in enumerate(lane.waiting) if i in positions]
            lane.waiting = [it for i, it in enumerate(lane.waiting) if i not in positions]
            lane.under_way += 1
            lane.began += 1
            task = asyncio.create_task(self._run(lane, together))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _run(self, lane: _Lane, together: Sequence[_Waiting]) -> None:
        loop = asyncio.get_running_loop()
        began, under_way, began_s = lane.began, lane.under_way, loop.time()
        for it in together:
            self._metrics.waited(lane.name, began_s - it.since_s)
        try:
            replies = await self._made(lane, together)
        except Exception as error:  # noqa: BLE001  # whatever it is, those who asked get it
            for it in together:
                if not it.reply.done():
                    it.reply.set_exception(error)
                    it.reply.exception()  # who left does not look
            return
        finally:
            lane.under_way -= 1
            loop.call_soon(self._pump, lane)
        for it, reply in zip(together, replies, strict=True):
            if not it.reply.done():
                it.reply.set_result(reply)
        self._learn(
            lane,
            replies[0],
            took_ms=(loop.time() - began_s) * _MS_PER_S,
            inputs=sum(it.load.inputs for it in together),
            under_way=under_way,
            was_alone=under_way == 1 and lane.began == began,
        )

    def _learn(  # noqa: PLR0913  # named, and all of one call
        self,
        lane: _Lane,
        reply: Reply,
        *,
        took_ms: float,
        inputs: int,
        under_way: int,
        was_alone: bool,
    ) -> None:
        """Set a lane's pace by what came of a call."""
        if not isinstance(reply.result, CallFailed):
            lane.pace = lane.pace.after(
                took_ms=took_ms,
                inputs=inputs,
                under_way=under_way,
                was_alone=was_alone,
                is_full=bool(lane.waiting),
            )
        elif reply.result.error.code in OVERLOADED:
            lane.pace = lane.pace.after_overload()
        self._metrics.limit(lane.name, lane.pace.calls)

    async def _made(self, lane: _Lane, together: Sequence[_Waiting]) -> list[Reply]:
        """Make a call; where one of several may have spoiled it, make one for each."""
        reply = await self._one(lane, together)
        if len(together) == 1:
            return [reply]
        reply = msgspec.structs.replace(reply, is_shared=True)
        result = reply.result
        if isinstance(result, CallFailed):
            staying = [it for it in together if not it.is_left]
            if not staying or not is_of_one_member(result):
                return [reply, *(_copy(reply) for _ in together[1:])]
            apart = await asyncio.gather(*(self._one(lane, [it]) for it in staying))
            found = dict(zip(map(id, staying), apart, strict=True))
            return [found.get(id(it), reply) for it in together]
        replies: list[Reply] = []
        begin = 0
        for it in together:
            own = slice(begin, begin + len(it.call.requests))
            begin = own.stop
            part = msgspec.structs.replace(reply, result=result[own], sent=reply.sent[own])
            replies.append(_copy(part) if replies else part)
        return replies

    async def _one(self, lane: _Lane, together: Sequence[_Waiting]) -> Reply:
        made = _Made(together)
        call = msgspec.structs.replace(
            together[0].call,
            requests=[request for it in together for request in it.call.requests],
            known=[known for it in together for known in it.call.known],
            deadline_s=max(it.call.deadline_s for it in together),
            stop=made.stop,
        )
        _take_turn([it.call for it in together])
        inputs = [item for it in together for item in it.inputs]
        different = len(set(inputs))
        self._metrics.called(
            lane.name,
            requests=len(call.requests),
            inputs=different,
            repeated=len(inputs) - different,
        )
        return await ask(lane.service, call, None, now_ms=together[0].now_ms)

    def _lane(self, key: LaneKey, service: Service) -> _Lane:
        lane = self._lanes.get(key)
        if lane is None:
            if len(self._lanes) >= _MOST_LANES:
                self._lanes = {k: v for k, v in self._lanes.items() if v.waiting or v.under_way}
            lane = self._lanes[key] = _Lane(key[0], service)
        return lane


def _take_turn(calls: Sequence[Call]) -> None:
    """Calls are made now, as one: they count once in the provider's rate."""
    turns = [call.turn for call in calls if call.turn is not None]
    if turns:
        next((turn for turn in turns if not turn.is_spent), turns[0]).make()


def _copy(reply: Reply) -> Reply:
    """What all but the first are told of a call: so it counts once with the provider's gates."""
    return msgspec.structs.replace(reply, is_copy=True)


def _left(waiting: _Waiting, gone: CallFailed) -> Reply:
    """Who asked waits no longer; a call that nobody waits for any more is stopped.

    A provider bills what it has read, and who gives his call up pays for that as estimated.
    """
    waiting.is_left = True
    made, billed = waiting.made, Usage()
    if made is not None:
        if all(it.is_left for it in made.together):
            made.stop.ask()
        if gone.error is CANCELLED and len(waiting.call.requests) == 1:
            tokens = waiting.call.requests[0].estimated_input_tokens
            billed = Usage(input_tokens=tokens, is_estimated=True)
    return Reply(result=gone, billed=billed)


def _key_of(service: Service, call: Call, provider: str) -> LaneKey | None:
    """The lane of a call; None = it is made by itself."""
    if call.company is None:
        return None
    company = call.company.within(isolates_inputs=service.isolates_inputs)
    return (provider, call.model, company.operation), id(service.provider), company


def _inputs_of(call: Call) -> list[bytes]:
    """What a call sends, so that what is equal is sent once."""
    if call.requests[0].operation == Operation.EMBEDDINGS:
        known = call.known or [{}] * len(call.requests)
        return [
            item
            for request, has in zip(call.requests, known, strict=True)
            for item in inputs_of(request.body)
            if item not in has
        ]
    return [
        b"%b %d" % (request.request_id.encode(), i)  # each is a sample of its own
        for request in call.requests
        for i in range(count_of_prompts(request.body))
    ]
