"""When a provider's model is left alone: a circuit breaker as a value.

M. Nygard's pattern ("Release It!"): enough failures open the circuit, after a pause a few probes
are let through, a good one closes it and a bad one doubles the pause. Pure: the time and the jitter
are arguments; every change gives a new value.
"""

from enum import StrEnum

import msgspec

from services.model_caller.decide import CallFailed
from services.shared.domain.events import CircuitState, ProviderHealth, Target

CONSECUTIVE = 5
"""Failures in a row that open."""

WINDOW = 20
MINIMUM = 10
RATIO = 0.5
"""Share of failures among the last ``MINIMUM`` to ``WINDOW`` results that opens."""

MEMORY_MS = 60_000
"""Results older than a silence of this length say nothing about now."""

PERSISTENT = 10
"""Refusals for the rate, in a row, from which on each counts as a failure."""

PAUSE_MS = 2_000
MAX_PAUSE_MS = 60_000
PROBES = 2
"""Probes at once in one process."""

PROBE_MS = 5_000
"""How long the processes leave a probe to the one that makes it."""

_AGAINST_THE_PROVIDER = frozenset(
    {
        "provider_unreachable",
        "provider_timeout",
        "provider_malformed",
        "provider_overloaded",
        "stream_interrupted",
    }
)


class Verdict(StrEnum):
    """What a call says about the provider; ``UNSAID``: nothing."""

    GOOD = "good"
    BAD = "bad"
    THROTTLED = "throttled"
    UNSAID = "unsaid"


class Admission(StrEnum):
    """Whether a call may be made; a ``PROBE``'s result decides about the circuit."""

    CALL = "call"
    PROBE = "probe"
    REFUSED = "refused"


def verdict_of(result: object) -> Verdict:
    """Read a result: what is not a failed call is an answer.

    A refusal of the request itself (400, content filter, too long) shows a provider that works;
    wrong credentials, an unknown model and the request's own deadline say nothing about it.
    """
    if not isinstance(result, CallFailed):
        return Verdict.GOOD
    code = result.error.code
    if code == "provider_rate_limited":
        return Verdict.THROTTLED if result.is_retriable else Verdict.BAD  # else no quota is left
    if code in _AGAINST_THE_PROVIDER or (code == "provider_error" and result.is_retriable):
        return Verdict.BAD
    if not result.is_this_target_only and code != "deadline_exceeded":
        return Verdict.GOOD
    return Verdict.GOOD if code == "context_length_exceeded" else Verdict.UNSAID


class Breaker(msgspec.Struct, frozen=True, kw_only=True):
    """The circuit of one model of one provider.

    Attributes:
        state: Closed, open or half open.
        changed_at_ms: When it came into this state, unix ms.
        until_ms: When the next probe may be made, unix ms.
        pause_ms: Length of the last pause, without its jitter; the next one is twice as long.
        failures: Failed calls that led here.
        reason: Code of the last error; empty = none.
        probes: Probes that are being made.
        results: The last results while closed, the newest last; True = bad.
        heard_at_ms: When the last of them came, unix ms.
        throttled: Refusals for the rate in a row.
    """

    state: CircuitState = CircuitState.CLOSED
    changed_at_ms: int = 0
    until_ms: float = 0.0
    pause_ms: float = 0.0
    failures: int = 0
    reason: str = ""
    probes: int = 0
    results: tuple[bool, ...] = ()
    heard_at_ms: float = 0.0
    throttled: int = 0

    def wait_ms(self, *, now_ms: float) -> float:
        """Time until a call may be made, as far as is known; 0 = now."""
        match self.state:
            case CircuitState.CLOSED:
                return 0.0
            case CircuitState.OPEN:
                return max(0.0, self.until_ms - now_ms)
            case _:
                return 0.0 if self.probes < PROBES else max(1.0, self.until_ms - now_ms)

    def admitted(self, *, now_ms: float) -> tuple["Breaker", Admission]:
        """Ask for a call; the circuit after that, and whether the call may be made."""
        if self.state is CircuitState.CLOSED:
            return self, Admission.CALL
        if self.wait_ms(now_ms=now_ms) > 0:
            return self, Admission.REFUSED
        if self.state is CircuitState.HALF_OPEN:
            return self._with_probes(self.probes + 1), Admission.PROBE
        half_open = msgspec.structs.replace(
            self,
            state=CircuitState.HALF_OPEN,
            changed_at_ms=self._next_change(now_ms),
            until_ms=now_ms + PROBE_MS,
            probes=1,
        )
        return half_open, Admission.PROBE

    def heard(
        self, verdict: Verdict, *, is_probe: bool, now_ms: float, jitter: float, reason: str = ""
    ) -> "Breaker":
        """Take the result of a call.

        Args:
            verdict: What the result says.
            is_probe: Whether the call was a probe; others count only while the circuit is closed.
            now_ms: Unix ms.
            jitter: Random number in [0, 1).
            reason: Code of the error, if it was one.
        """
        if self.state is CircuitState.CLOSED:
            return self._heard_closed(verdict, now_ms=now_ms, jitter=jitter, reason=reason)
        if self.state is CircuitState.OPEN or not is_probe:
            return self
        match verdict:
            case Verdict.GOOD:
                return Breaker(changed_at_ms=self._next_change(now_ms), heard_at_ms=now_ms)
            case Verdict.BAD | Verdict.THROTTLED:  # a provider that is back has room for a probe
                return self._opened(now_ms=now_ms, jitter=jitter, reason=reason, failures=1)
            case _:
                return self._with_probes(self.probes - 1)

    def adopted(self, health: ProviderHealth) -> "Breaker":
        """Take over what any process has published, unless what is known here is newer.

        A probe of another process is a pause here: one process tries, the others wait for it.
        """
        if health.at <= self.changed_at_ms:
            return self
        if health.state == CircuitState.CLOSED.value:
            return Breaker(changed_at_ms=health.at)
        is_open = health.state == CircuitState.OPEN.value
        return Breaker(
            state=CircuitState.OPEN,
            changed_at_ms=health.at,
            until_ms=health.until,
            pause_ms=_within(health.until - health.at) if is_open else self.pause_ms,
            failures=health.failures,
            reason=health.reason,
        )

    def published(self, target: Target, *, owner: str) -> ProviderHealth:
        """The record that tells the other processes."""
        return ProviderHealth(
            provider=target.provider,
            model=target.model,
            state=self.state.value,
            at=self.changed_at_ms,
            until=round(self.until_ms),
            failures=self.failures,
            reason=self.reason,
            owner=owner,
        )

    def _heard_closed(
        self, verdict: Verdict, *, now_ms: float, jitter: float, reason: str
    ) -> "Breaker":
        if verdict is Verdict.UNSAID:
            return self
        throttled = self.throttled + 1 if verdict is Verdict.THROTTLED else 0
        if verdict is Verdict.THROTTLED and throttled < PERSISTENT:
            return msgspec.structs.replace(self, throttled=throttled)
        is_stale = now_ms - self.heard_at_ms > MEMORY_MS
        results = (*(() if is_stale else self.results[1 - WINDOW :]), verdict is not Verdict.GOOD)
        if results[-1] and _are_too_bad(results):
            return self._opened(now_ms=now_ms, jitter=jitter, reason=reason, failures=sum(results))
        return msgspec.structs.replace(
            self, results=results, heard_at_ms=now_ms, throttled=throttled
        )

    def _opened(self, *, now_ms: float, jitter: float, reason: str, failures: int) -> "Breaker":
        pause_ms = _within(self.pause_ms * 2)
        return Breaker(
            state=CircuitState.OPEN,
            changed_at_ms=self._next_change(now_ms),
            until_ms=now_ms + pause_ms * (1 + jitter / 4),
            pause_ms=pause_ms,
            failures=self.failures + failures,
            reason=reason,
        )

    def _with_probes(self, probes: int) -> "Breaker":
        return msgspec.structs.replace(self, probes=probes)

    def _next_change(self, now_ms: float) -> int:
        """Changes of one circuit have times that only grow, whoever's clock is behind."""
        return max(round(now_ms), self.changed_at_ms + 1)


def _are_too_bad(results: tuple[bool, ...]) -> bool:
    if len(results) >= CONSECUTIVE and all(results[-CONSECUTIVE:]):
        return True
    return len(results) >= MINIMUM and sum(results) >= RATIO * len(results)


def _within(pause_ms: float) -> float:
    return float(min(MAX_PAUSE_MS, max(PAUSE_MS, pause_ms)))
