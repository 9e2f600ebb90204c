"""Limits of a model: calls and tokens a minute, and how many calls it serves at once.

Time is an argument, in ms on any clock that only goes forward.
"""

from collections import OrderedDict
from heapq import heapify, heapreplace
from math import ceil

from services.simulator.behaviour import Behaviour
from services.simulator.refusals import OVERLOADED, Refusal, rate_limited
from services.simulator.replies import Headers

MAX_MODELS = 1_024
"""Model names whose limits are kept; the one unused longest is forgotten."""

MAX_PROMPTS = 65_536
"""Prompts whose calls are counted, for ``fail-first``."""

MAX_QUEUE_MS = 60_000
"""A call that would wait longer for a server is refused."""

_MS_PER_MINUTE = 60_000


class TokenBucket:
    """A limit per minute that refills evenly; full at the start."""

    def __init__(self, limit: int, *, now_ms: float) -> None:
        self.limit = limit
        self._left = float(limit)
        self._at_ms = now_ms

    def left(self, now_ms: float) -> float:
        """What may be taken now."""
        refilled = (now_ms - self._at_ms) * self.limit / _MS_PER_MINUTE
        self._left = min(float(self.limit), self._left + refilled)
        self._at_ms = now_ms
        return self._left

    def wait_ms(self, amount: float, now_ms: float) -> float:
        """How long until ``amount`` may be taken; 0 = now. More than the limit waits a minute."""
        missing = amount - self.left(now_ms)
        return max(0.0, min(missing, self.limit) * _MS_PER_MINUTE / self.limit)

    def take(self, amount: float) -> None:
        """Take what ``wait_ms`` has just admitted."""
        self._left -= amount

    def full_in_ms(self, now_ms: float) -> float:
        """How long until the limit is untouched again."""
        return (self.limit - self.left(now_ms)) * _MS_PER_MINUTE / self.limit


class Servers:
    """A fixed number of servers, each of which works on one call at a time."""

    def __init__(self, count: int) -> None:
        self._free_at_ms = [0.0] * count
        heapify(self._free_at_ms)

    def reserve(self, now_ms: float, service_ms: float) -> float | None:
        """Queue a call for the server that is free first; a call that left keeps its place.

        Returns:
            When its service starts; None = the queue is longer than ``MAX_QUEUE_MS``.
        """
        start_ms = max(now_ms, self._free_at_ms[0])
        if start_ms - now_ms > MAX_QUEUE_MS:
            return None
        heapreplace(self._free_at_ms, start_ms + service_ms)
        return start_ms


def _reset_text(wait_ms: float) -> bytes:
    """A duration as in OpenAI's ``x-ratelimit-reset-*``: ``17ms``, ``1.5s``, ``6m0s``."""
    if wait_ms < 1_000:
        return b"%dms" % ceil(wait_ms)
    if wait_ms < _MS_PER_MINUTE:
        return f"{wait_ms / 1_000:.3g}s".encode()
    minutes, seconds = divmod(ceil(wait_ms / 1_000), 60)
    return b"%dm%ds" % (minutes, seconds)


class ModelLimits:
    """The limits of one model name."""

    def __init__(self, behaviour: Behaviour, *, now_ms: float) -> None:
        self._model = behaviour.model
        limits = {"requests": behaviour.requests_per_min, "tokens": behaviour.tokens_per_min}
        self._buckets = {
            what: TokenBucket(limit, now_ms=now_ms) for what, limit in limits.items() if limit
        }
        self.servers = Servers(behaviour.parallel) if behaviour.parallel else None

    def admit(self, tokens: int, *, now_ms: float) -> Refusal | None:
        """Take one call and its tokens from the limits, or say when to come back."""
        wanted = {"requests": 1, "tokens": tokens}
        waits = {
            what: bucket.wait_ms(wanted[what], now_ms) for what, bucket in self._buckets.items()
        }
        for what, wait_ms in waits.items():
            if wait_ms > 0:
                limit = self._buckets[what].limit
                return rate_limited(what=what, limit=limit, wait_ms=wait_ms, model=self._model)
        for what, bucket in self._buckets.items():
            bucket.take(wanted[what])
        return None

    def headers(self, *, now_ms: float) -> Headers:
        """OpenAI's ``x-ratelimit-*`` headers."""
        headers: Headers = []
        for what, bucket in self._buckets.items():
            name = what.encode()
            left = max(0, int(bucket.left(now_ms)))
            headers += [
                (b"x-ratelimit-limit-" + name, b"%d" % bucket.limit),
                (b"x-ratelimit-remaining-" + name, b"%d" % left),
                (b"x-ratelimit-reset-" + name, _reset_text(bucket.full_in_ms(now_ms))),
            ]
        return headers


class Limits:
    """The limits of every model name in use, and the calls of every prompt."""

    def __init__(self) -> None:
        self._models: OrderedDict[str, ModelLimits] = OrderedDict()
        self._calls: OrderedDict[tuple[str, int], int] = OrderedDict()

    def of(self, behaviour: Behaviour, *, now_ms: float) -> ModelLimits | None:
        """The limits of a model; None = it has none."""
        has_any = behaviour.requests_per_min or behaviour.tokens_per_min or behaviour.parallel
        if not has_any:
            return None
        limits = self._models.get(behaviour.model)
        if limits is None:
            limits = self._models[behaviour.model] = ModelLimits(behaviour, now_ms=now_ms)
            if len(self._models) > MAX_MODELS:
                self._models.popitem(last=False)
        self._models.move_to_end(behaviour.model)
        return limits

    def count_call(self, behaviour: Behaviour, seed: int) -> int:
        """Count a call of a prompt; returns how many came before it. Only for ``fail-first``."""
        if not behaviour.fail_first:
            return 0
        key = (behaviour.model, seed)
        earlier = self._calls.pop(key, 0)
        self._calls[key] = earlier + 1
        if len(self._calls) > MAX_PROMPTS:
            self._calls.popitem(last=False)
        return earlier


def start_of(limits: ModelLimits | None, *, now_ms: float, service_ms: float) -> float | Refusal:
    """When a call's service starts; reserves a server where its model has only so many."""
    if limits is None or limits.servers is None:
        return now_ms
    start_ms = limits.servers.reserve(now_ms, service_ms)
    return OVERLOADED if start_ms is None else start_ms
