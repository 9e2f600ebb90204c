"""What a router has seen: lengths and times of answers, tokens under way, circuits, conversations.

A pure fold of ``inference-results``, ``provider-health`` and the router's own decisions. Every
router process follows all results, so what is learnt from them is the same in all of them, up to
the order of partitions. Tokens under way are those that this process routed itself: with several
processes, which share the traffic evenly by partition, they are its share of what is under way.
All maps are bounded; what is oldest goes first.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import TypeVar

import msgspec

from services.shared.domain.complexity.cuts import Cuts, RecentScores
from services.shared.domain.configuration_routing import Strategy
from services.shared.domain.events import (
    CircuitState,
    InferenceFinished,
    ModelCall,
    ProviderHealth,
)

LENGTHS_HALF_LIFE_MS = 3_600_000
TIMES_HALF_LIFE_MS = 60_000
GIVEN_UP_MS = 600_000
"""A request whose end was not seen for so long is counted no longer."""

PROMPT_CACHE_IDLE_MS = 300_000
"""How long providers keep a prompt that nobody asks for."""

RECUT_EVERY = 50
"""Scores after which cuts are laid anew."""

MAX_TARGETS = 4_096
MAX_UNDER_WAY = 100_000
MAX_CONVERSATIONS = 50_000
MAX_SCORED_ALIASES = 256

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class DecayedMean:
    """A mean in which a sample counts half as much after each half-life.

    Attributes:
        mean: The mean.
    """

    __slots__ = ("_at_ms", "_half_life_ms", "_weight", "mean")

    def __init__(self, half_life_ms: float) -> None:
        """Start without samples."""
        self.mean = 0.0
        self._weight = 0.0
        self._at_ms = 0.0
        self._half_life_ms = half_life_ms

    def add(self, sample: float, at_ms: float) -> None:
        """Take a sample; one that comes late counts as if it were from now."""
        weight = self.samples(at_ms)
        self.mean = (self.mean * weight + sample) / (weight + 1.0)
        self._weight = weight + 1.0
        self._at_ms = max(self._at_ms, at_ms)

    @property
    def known(self) -> float | None:
        """The mean; None while there is no sample."""
        return self.mean if self._weight else None

    def samples(self, now_ms: float) -> float:
        """How many samples of now it is worth."""
        age_ms = max(0.0, now_ms - self._at_ms)
        return float(self._weight * 0.5 ** (age_ms / self._half_life_ms))


class Times:
    """How long a target takes.

    Attributes:
        first_output: To the first output of a stream, ms.
        whole: To the end of an answer in one piece, ms.
    """

    __slots__ = ("first_output", "whole")

    def __init__(self) -> None:
        """Start without samples."""
        self.first_output = DecayedMean(TIMES_HALF_LIFE_MS)
        self.whole = DecayedMean(TIMES_HALF_LIFE_MS)


class Conversation(msgspec.Struct, frozen=True, kw_only=True):
    """Where a conversation was last.

    Attributes:
        target: Target that has it in its prompt cache, as provider/model.
        tokens: Tokens that it had there.
        at_ms: When, unix ms.
    """

    target: str
    tokens: int
    at_ms: float


class _Scores:
    """The recent scores of an alias, and the cuts that were made of them last."""

    __slots__ = ("at_count", "cuts", "recent")

    def __init__(self, reference: Sequence[float]) -> None:
        self.recent = RecentScores(reference)
        self.cuts: Cuts | None = None
        self.at_count = 0


class _UnderWay(msgspec.Struct, frozen=True):
    target: str
    tokens: int
    at_ms: float


def _no_reference(_alias: str) -> Sequence[float]:
    return ()


class Observed:
    """What one router process has seen."""

    def __init__(self, reference_of: Callable[[str], Sequence[float]] = _no_reference) -> None:
        """Start with nothing.

        Args:
            reference_of: Quantiles of scores that stand for an alias's own until it has some.
        """
        self._reference_of = reference_of
        self._scores: OrderedDict[str, _Scores] = OrderedDict()
        self._inputs: OrderedDict[str, DecayedMean] = OrderedDict()
        self._lengths: OrderedDict[tuple[str, str], DecayedMean] = OrderedDict()
        self._times: OrderedDict[str, Times] = OrderedDict()
        self._under_way: OrderedDict[str, _UnderWay] = OrderedDict()
        self._tokens: dict[str, int] = {}
        self._circuits: OrderedDict[str, ProviderHealth] = OrderedDict()
        self._conversations: OrderedDict[str, Conversation] = OrderedDict()
        self._leaders: OrderedDict[str, str] = OrderedDict()

    def output_tokens(self, alias: str, target: str) -> float | None:
        """Mean output tokens of an alias at a target; None when there is no sample yet."""
        length = self._lengths.get((alias, target))
        return None if length is None else length.mean

    def input_tokens(self, alias: str) -> float | None:
        """Mean input tokens of an alias; None when there is no sample yet."""
        length = self._inputs.get(alias)
        return None if length is None else length.mean

    def cuts(self, alias: str, lay: Callable[[RecentScores], Cuts]) -> Cuts:
        """The cuts of an alias; laid anew whenever enough new scores have come.

        Args:
            alias: Model alias asked for.
            lay: Lays them.
        """
        scores = self._scores.get(alias) or self._new_scores(alias)
        if scores.cuts is None or scores.recent.count - scores.at_count >= RECUT_EVERY:
            scores.cuts, scores.at_count = lay(scores.recent), scores.recent.count
        return scores.cuts

    def times(self, target: str) -> Times | None:
        """How long a target takes; None when it was never seen."""
        return self._times.get(target)

    def tokens_under_way(self, target: str) -> int:
        """Tokens that this process sent to a target and that have not come to their end."""
        return self._tokens.get(target, 0)

    def is_open(self, target: str, now_ms: float) -> bool:
        """Whether calls to a target would be refused: its circuit is open, and no probe is due."""
        health = self._circuits.get(target)
        return health is not None and health.state == CircuitState.OPEN and now_ms < health.until

    def conversation(self, key: str, now_ms: float) -> Conversation | None:
        """Where a conversation is; None when it is not known, or no prompt cache holds it still."""
        known = self._conversations.get(key)
        if known is None or now_ms - known.at_ms > PROMPT_CACHE_IDLE_MS:
            return None
        return known

    def leader(self, alias: str) -> str:
        """Target that the last request of an alias went to for its own sake; empty = none yet."""
        return self._leaders.get(alias, "")

    def lead(self, alias: str, target: str) -> None:
        """A target leads an alias."""
        _put(self._leaders, alias, target, MAX_TARGETS)

    def sent(self, request_id: str, target: str, tokens: int, now_ms: float) -> None:
        """A request was routed to a target."""
        self.ended(request_id)
        self._under_way[request_id] = _UnderWay(target, tokens, now_ms)
        self._tokens[target] = self._tokens.get(target, 0) + tokens
        while len(self._under_way) > MAX_UNDER_WAY or self._is_oldest_given_up(now_ms):
            self.ended(next(iter(self._under_way)))

    def ended(self, request_id: str) -> None:
        """A request is not under way any more."""
        gone = self._under_way.pop(request_id, None)
        if gone is None:
            return
        left = self._tokens[gone.target] - gone.tokens
        if left:
            self._tokens[gone.target] = left
        else:
            del self._tokens[gone.target]

    def hold(self, key: str, conversation: Conversation) -> None:
        """A conversation is at a target; what is older than what is known changes nothing."""
        known = self._conversations.get(key)
        if known is None or known.at_ms <= conversation.at_ms:
            _put(self._conversations, key, conversation, MAX_CONVERSATIONS)

    def take_health(self, health: ProviderHealth) -> None:
        """A circuit changed."""
        _put(self._circuits, f"{health.provider}/{health.model}", health, MAX_TARGETS)

    def take_result(self, finished: InferenceFinished) -> None:
        """A request ended: learn from its calls that gave an answer."""
        self.ended(finished.request_id)
        route = finished.route
        if route is not None and route.strategy == Strategy.COMPLEXITY:
            scores = self._scores.get(route.alias) or self._new_scores(route.alias)
            scores.recent.add(route.score, is_unsure=route.score == 0)
        answered = [call for call in finished.calls if not call.error_code]
        for call in answered:
            self._learn(finished, call)
        if answered and route is not None and route.conversation:
            last = answered[-1]
            self.hold(
                route.conversation,
                Conversation(
                    target=f"{last.provider}/{last.model}",
                    tokens=last.usage.input_tokens + last.usage.output_tokens,
                    at_ms=finished.finished_at,
                ),
            )

    def _learn(self, finished: InferenceFinished, call: ModelCall) -> None:
        target = f"{call.provider}/{call.model}"
        at_ms = finished.accepted_at + call.finished_ms
        if call.usage.input_tokens:
            inputs = self._inputs.get(finished.model) or DecayedMean(LENGTHS_HALF_LIFE_MS)
            inputs.add(call.usage.input_tokens, at_ms)
            _put(self._inputs, finished.model, inputs, MAX_TARGETS)
        if call.usage.output_tokens:
            key = (finished.model, target)
            length = self._lengths.get(key) or DecayedMean(LENGTHS_HALF_LIFE_MS)
            length.add(call.usage.output_tokens, at_ms)
            _put(self._lengths, key, length, MAX_TARGETS)
        times = self._times.get(target) or Times()
        if not finished.stream:
            times.whole.add(call.finished_ms - call.started_ms, at_ms)
        elif call.first_chunk_ms >= 0:
            times.first_output.add(call.first_chunk_ms - call.started_ms, at_ms)
        _put(self._times, target, times, MAX_TARGETS)

    def _new_scores(self, alias: str) -> _Scores:
        scores = _Scores(self._reference_of(alias))
        _put(self._scores, alias, scores, MAX_SCORED_ALIASES)
        return scores

    def _is_oldest_given_up(self, now_ms: float) -> bool:
        oldest = next(iter(self._under_way.values()))
        return now_ms - oldest.at_ms > GIVEN_UP_MS


def _put(kept: OrderedDict[K, V], key: K, value: V, most: int) -> None:
    """Keep as the newest; the oldest goes when there are too many."""
    kept[key] = value
    kept.move_to_end(key)
    if len(kept) > most:
        kept.popitem(last=False)
