"""Whether and when a call may start: circuit, rate, slots, endpoint.

Every call enters by ``Gates.enter_first`` and leaves through its ``Pass``. What may not start
within a wish's patience is told so at once, with the time when it may work.
"""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from types import TracebackType

from services.model_caller.breaker import Admission, Breaker, Verdict, verdict_of
from services.model_caller.buckets import Buckets, Reserved
from services.model_caller.calls import Reply, Service
from services.model_caller.decide import OVERLOADED, CallFailed
from services.model_caller.endpoints import Endpoints
from services.model_caller.gate_metrics import GateMetrics
from services.model_caller.packing import CallLimits
from services.model_caller.shared_inputs import Company
from services.model_caller.turns import Turn
from services.model_caller.turnstile import LANES, Line, Turnstile
from services.model_caller.wishes import Shut, Wish
from services.shared.domain.events import CircuitState, ProviderHealth, Target
from services.shared.ports.clock import Clock

SLOT_RETRY_MS = 1_000
"""When a slot may be free again: nobody knows, so soon."""

_MAX_MODELS = 1_024

Publish = Callable[[ProviderHealth], None]


class _Model:
    """What is known of one model of a provider."""

    __slots__ = ("breaker", "line", "not_before_ms", "paused_on", "target")

    def __init__(self, target: Target, most: int) -> None:
        self.target = target
        self.breaker = Breaker()
        self.line = Line(most)
        self.not_before_ms = 0.0
        self.paused_on = "rate"


class _Provider:
    """What is known of a provider."""

    __slots__ = ("buckets", "endpoints", "service", "turnstile")

    def __init__(self, service: Service) -> None:
        self.service = service
        self.turnstile = Turnstile(service.max_in_flight)
        self.endpoints = Endpoints(1 + len(service.others))
        self.buckets = Buckets(
            requests_per_minute=service.requests_per_minute,
            tokens_per_minute=service.tokens_per_minute,
        )

    def company_of(self, wish: Wish, target: Target) -> tuple[str, Company] | None:
        """Who may share a call with a wish's; None = it is made alone."""
        if wish.company is None:
            return None
        isolates_inputs = self.service.isolates_inputs
        return target.model, wish.company.within(isolates_inputs=isolates_inputs)


class Pass(AbstractContextManager["Pass"]):
    """The right to make one call; leaving the context ends it.

    Attributes:
        wish: What it was asked for with.
        service: Whom to call; None = the provider is not configured here.
        turn: The call's place in the provider's rate; None as before.
    """

    def __init__(  # noqa: PLR0913  # named, and all of one call
        self,
        gates: "Gates",
        provider: _Provider | None,
        model: _Model | None,
        wish: Wish,
        *,
        turn: Turn | None = None,
        is_probe: bool = False,
    ) -> None:
        """Begin the call."""
        self._gates = gates
        self._provider = provider
        self._model = model
        self.wish = wish
        self.turn = turn
        self._is_probe = is_probe
        self._reply: Reply | None = None
        self._started_ms = gates.clock.now_ms()
        self._endpoint = 0
        self.service: Service | None = None
        if provider is not None:
            self._endpoint = provider.endpoints.begin(wish.tokens, now_ms=self._started_ms)
            self.service = provider.service.at(self._endpoint)

    def learn(self, reply: Reply) -> Reply:
        """Take in what came of the call; returns it."""
        self._reply = reply
        return reply

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give back what the call held, and let the next ones know what it showed."""
        provider, model = self._provider, self._model
        if provider is None or model is None:
            return
        provider.endpoints.end(self._endpoint, self.wish.tokens)
        if self.turn is not None:
            self.turn.leave()
        self._learn_from(self._reply, provider, model)
        provider.turnstile.free(model.line, min(self.wish.lane, LANES - 1))

    def _learn_from(self, reply: Reply | None, provider: _Provider, model: _Model) -> None:
        now_ms = self._gates.clock.now_ms()
        verdict, reason = Verdict.UNSAID, ""
        if reply is not None:
            verdict = Verdict.UNSAID if reply.is_copy else verdict_of(reply.result)
            if isinstance(reply.result, CallFailed):
                reason = reply.result.error.code
            if reason == "provider_unreachable" and not reply.status:
                provider.endpoints.leave(self._endpoint, now_ms=now_ms)
                if provider.endpoints.others_work(self._endpoint, now_ms=now_ms):
                    verdict = Verdict.UNSAID
            self._pace(reply, reason, provider, model, now_ms)
        self._gates.heard(model, verdict, is_probe=self._is_probe, reason=reason)

    def _pace(
        self, reply: Reply, reason: str, provider: _Provider, model: _Model, now_ms: float
    ) -> None:
        used = reply.billed
        tokens = used.input_tokens + used.output_tokens
        if not isinstance(reply.result, CallFailed):
            billed = [it.billed or it.usage for it in reply.result]
            tokens = sum(it.input_tokens + it.output_tokens for it in billed)
        provider.buckets.settle(reserved=self.wish.tokens, used=tokens)
        if reply.pause_ms:
            model.not_before_ms = max(model.not_before_ms, now_ms + reply.pause_ms)
            is_fault = bool(reason) and reason != "provider_rate_limited"
            model.paused_on = "circuit" if is_fault else "rate"
        line = model.line
        before = line.limit.calls
        if reply.is_shared:  # the slots count who shares it; its lane has a pace of its own
            return
        if reason in OVERLOADED:
            line.limit = line.limit.after_overload(
                in_flight=line.in_flight, started_ms=self._started_ms, now_ms=now_ms
            )
        elif not reason:
            line.limit = line.limit.after_answer(in_flight=line.in_flight)
        if line.limit.calls != before:
            self._gates.metrics.limit(model.target, line.limit.calls)


class Gates:
    """The gates of all targets.

    Attributes:
        clock: The time.
        metrics: What is measured.
        publish: Told when a circuit changes; nobody is told until it is set.
    """

    def __init__(
        self,
        services: Mapping[str, Service],
        *,
        owner: str,
        clock: Clock,
        jitter: Callable[[], float],
        metrics: GateMetrics,
    ) -> None:
        """Start with everything open.

        Args:
            services: Providers by name.
            owner: This process, in what it publishes.
            clock: The time.
            jitter: Random numbers in [0, 1).
            metrics: What is measured.
        """
        self.clock = clock
        self.metrics = metrics
        self.publish: Publish = _nobody
        self._owner = owner
        self._jitter = jitter
        self._providers = {name: _Provider(service) for name, service in services.items()}
        self._models: dict[tuple[str, str], _Model] = {}

    async def enter_first(self, targets: list[Target], wish: Wish) -> Pass | Shut:
        """Enter the first target that lets a call in; those before it are taken off the list.

        Returns:
            The pass to ``targets[0]``; or, with the list empty, what may work soonest.
        """
        soonest: Shut | None = None
        while targets:
            entry = await self.enter(targets[0], wish)
            if isinstance(entry, Pass):
                return entry
            self.metrics.shut(targets.pop(0), entry.on)
            if soonest is None or entry.wait_ms < soonest.wait_ms:
                soonest = entry
        return soonest or Shut("circuit", 0.0)

    async def enter(self, target: Target, wish: Wish) -> Pass | Shut:
        """Ask for a call to one target."""
        provider = self._providers.get(target.provider)
        if provider is None:
            return Pass(self, None, None, wish)
        model = self._model(target, provider)
        now_ms = self.clock.now_ms()
        if shut_ms := model.breaker.wait_ms(now_ms=now_ms):
            return Shut("circuit", shut_ms)
        pause_ms = max(0.0, model.not_before_ms - now_ms)
        if pause_ms > wish.patience_ms:
            return Shut(model.paused_on, pause_ms)
        buckets, company = provider.buckets, provider.company_of(wish, target)
        rate = buckets.reserve(
            wish.tokens, now_ms=now_ms, patience_ms=wish.patience_ms, company=company
        )
        if rate is None:
            return Shut("rate", buckets.wait_ms(wish.tokens, now_ms=now_ms, company=company))
        entry: Pass | Shut | None = None
        try:
            entry = await self._enter_in_turn(provider, model, wish, rate, pause_ms)
        finally:
            if not isinstance(entry, Pass):  # shut, or cancelled while it waited
                buckets.cancel(rate)
        return entry

    def call_limits(self, target: Target) -> CallLimits:
        """What a target takes in one call."""
        provider = self._providers.get(target.provider)
        return CallLimits() if provider is None else provider.service.call_limits

    def adopt(self, health: ProviderHealth) -> None:
        """Take over what a process has published of a circuit."""
        provider = self._providers.get(health.provider)
        if provider is None:
            return
        model = self._model(Target(provider=health.provider, model=health.model), provider)
        state = model.breaker.state
        model.breaker = model.breaker.adopted(health)
        if model.breaker.state is not state:
            self.metrics.circuit(model.target, model.breaker.state)

    def heard(self, model: _Model, verdict: Verdict, *, is_probe: bool, reason: str) -> None:
        """Let a model's circuit know what a call showed."""
        after = model.breaker.heard(
            verdict,
            is_probe=is_probe,
            now_ms=self.clock.now_ms(),
            jitter=self._jitter(),
            reason=reason,
        )
        self._change(model, after)

    async def _enter_in_turn(
        self, provider: _Provider, model: _Model, wish: Wish, rate: Reserved, pause_ms: float
    ) -> Pass | Shut:
        """Wait for the rate, then for a slot, then see whether the circuit is still closed."""
        wait_ms = max(pause_ms, rate.wait_ms)
        if wait_ms:
            self.metrics.waited(model.target, "rate", wait_ms / 1000)
            await asyncio.sleep(wait_ms / 1000)
        lane = min(wish.lane, LANES - 1)
        turnstile, line = provider.turnstile, model.line
        if not turnstile.take(line, lane):
            began_ms = self.clock.now_ms()
            left_s = max(0.0, wish.patience_ms - wait_ms) / 1000
            got = await turnstile.wait(line, lane, timeout_s=left_s)
            waited_s = (self.clock.now_ms() - began_ms) / 1000
            self.metrics.waited(model.target, "slots", waited_s)
            if not got:
                return Shut("slots", SLOT_RETRY_MS)
        now_ms = self.clock.now_ms()
        after, admission = model.breaker.admitted(now_ms=now_ms)
        if admission is Admission.REFUSED:
            turnstile.free(line, lane)
            return Shut("circuit", after.wait_ms(now_ms=now_ms))
        self._change(model, after)
        is_probe = admission is Admission.PROBE
        if wish.company is None:  # else it counts when it is made
            rate.turn.make()
        return Pass(self, provider, model, wish, turn=rate.turn, is_probe=is_probe)

    def _change(self, model: _Model, after: Breaker) -> None:
        before, model.breaker = model.breaker, after
        if after.changed_at_ms != before.changed_at_ms:
            self.metrics.circuit(model.target, after.state)
            self.publish(after.published(model.target, owner=self._owner))

    def _model(self, target: Target, provider: _Provider) -> _Model:
        name = (target.provider, target.model)
        model = self._models.get(name)
        if model is None:
            if len(self._models) >= _MAX_MODELS:
                self._forget_idle()
            model = self._models[name] = _Model(target, provider.service.max_in_flight)
        return model

    def _forget_idle(self) -> None:
        """Callers may name any model that matches a pattern: forget those that are in order."""
        for name, model in list(self._models.items()):
            if model.line.is_idle and model.breaker.state is CircuitState.CLOSED:
                del self._models[name]


def _nobody(_health: ProviderHealth) -> None:
    """Tell nobody."""
