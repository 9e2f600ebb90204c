"""Single-flight: which request leads and which one joins it.

A flight is one request on its way to the model (its leader) and the identical ones that wait for
its answer (its joiners). All that is known of them is here; ``consequences.py``
says what follows from a leader's end, ``joining.py`` does it.
"""

from collections.abc import Container, Iterable, Sequence
from typing import Generic, TypeVar

import msgspec

from services.shared.domain.events import Hop, InferenceRequested, Operation
from services.shared.domain.ids import NO_REPLY

W = TypeVar("W")
Key = tuple[str, str, bool, str, str]

MOST_JOINERS = 1_000
"""Requests that wait for others at most; half of the slots stay free for everybody else."""

MOST_JOINED_BYTES = 64 * 1024 * 1024
"""What their records hold at most; a quarter of what the stage may hold."""

MARGIN_MS = 10_000
"""How long after a leader's deadline its end is waited for."""

UNLIMITED_MS = 600_000
"""How long a leader without a deadline is believed to be under way."""

GRACE_MS = 1_000
"""How long an answer is kept for latecomers: it is on its way into the cache."""


class Joiner(msgspec.Struct, Generic[W], eq=False):
    """A request that waits for the answer of an identical one.

    Attributes:
        request: The request.
        record: Its record in work.
        hops: Stages that it passed before this one.
        bypasses: The cache was not asked; it is a repetition of what its client gave up.
        size_bytes: What its record holds.
        follows: Its client sees the leader's tokens as they come.
    """

    request: InferenceRequested
    record: W
    hops: tuple[Hop, ...] = ()
    bypasses: bool = False
    size_bytes: int = 0
    follows: bool = False


class Flight(msgspec.Struct, Generic[W], eq=False):
    """A request on its way to the model, and those that wait for it.

    Attributes:
        key: What all of them have in common.
        leader_id: The request that is on its way.
        key_id: Its virtual key.
        priority: Its priority.
        is_streamed: Its tokens can be followed by others.
        include_usage: Its stream ends with a usage chunk.
        body_hash: Of what its provider gets; who waits may have said more, or written it otherwise.
        is_kept: Its answer may be shown to who comes a moment too late.
        deadline_ms: When it is given up, unix ms.
        forget_ms: When nothing more is expected of it, unix ms.
        reruns: How often its joiners were run again after a failure.
        joiners: Who waits, by request id, in the order in which they came.
        landed: Its terminal record, encoded; empty while it is on its way.
        is_held: Whoever serves the leader was told that its call is needed here.
    """

    key: Key
    leader_id: str
    key_id: str
    priority: int
    is_streamed: bool
    include_usage: bool
    body_hash: int
    is_kept: bool
    deadline_ms: int
    forget_ms: float
    reruns: int = 0
    joiners: dict[str, Joiner[W]] = {}
    landed: bytes = b""
    is_held: bool = False

    @property
    def tenant(self) -> str:
        """Whose requests they are."""
        return self.key[0]


class Flights(Generic[W]):
    """All flights that one process knows of.

    Attributes:
        leaders: Flights by the leader's id as it stands in the keys of records.
        joined: The flight that each joiner waits for, by the joiner's id.
        joined_bytes: What their records hold.
    """

    def __init__(
        self,
        *,
        capped_features: Container[str] = (),
        most_joiners: int = MOST_JOINERS,
        most_bytes: int = MOST_JOINED_BYTES,
    ) -> None:
        """Know of none.

        Args:
            capped_features: Features with caps of their own on the length of answers; requests of
                one are identical only to others of it, for an answer may be cut off at its cap.
            most_joiners: Requests that may wait; the next ones lead.
            most_bytes: What their records may hold.
        """
        self.leaders: dict[bytes, Flight[W]] = {}
        self.joined: dict[str, Flight[W]] = {}
        self.joined_bytes = 0
        self._capped_features = capped_features
        self._most_joiners = most_joiners
        self._most_bytes = most_bytes
        self._by_key: dict[Key, list[Flight[W]]] = {}

    def find(
        self, request: InferenceRequested, *, bypasses: bool, is_retry: bool, now_ms: float
    ) -> Flight[W] | None:
        """The flight that a request may join; None = it has to lead.

        Joined are leaders that are not held back in a slower lane than the request's own. Of
        several the one that has the fewest joiners: who bypasses the cache and asks twice wants
        two answers, and gets two when he asks for both again.

        Args:
            request: The request.
            bypasses: The cache was not asked.
            is_retry: Its client repeats what he gave up waiting for.
            now_ms: Unix ms.
        """
        if bypasses and not is_retry:
            return None
        flights = self._by_key.get(self._key(request, bypasses=bypasses))
        if flights is None or self._is_known(request) or self._is_full:
            return None
        open_to_it = [
            flight
            for flight in flights
            if flight.priority <= request.priority and now_ms < flight.deadline_ms
        ]
        return min(open_to_it, key=_joiner_count, default=None)

    def lead(
        self,
        request: InferenceRequested,
        *,
        bypasses: bool,
        now_ms: float,
        reruns: int = 0,
    ) -> None:
        """Note that a request is on its way to the model; one that is already noted stays so.

        Args:
            request: The request.
            bypasses: The cache was not asked.
            now_ms: Unix ms.
            reruns: How often those that wait were run again after a failure.
        """
        leader = request.request_id.encode()
        if not request.fingerprint or leader in self.leaders:
            return
        deadline_ms = request.deadline_at or int(now_ms) + UNLIMITED_MS
        flight: Flight[W] = Flight(
            key=self._key(request, bypasses=bypasses),
            leader_id=request.request_id,
            key_id=request.key_id,
            priority=request.priority,
            is_streamed=_is_streamed(request),
            include_usage=request.include_usage,
            body_hash=hash(request.body),
            is_kept=not request.cache_policy.no_store,
            deadline_ms=deadline_ms,
            forget_ms=deadline_ms + MARGIN_MS,
            reruns=reruns,
        )
        self.leaders[leader] = flight
        self._by_key.setdefault(flight.key, []).append(flight)

    def join(self, flight: Flight[W], joiner: Joiner[W]) -> None:
        """Let a request wait for a flight."""
        request = joiner.request
        joiner.follows = (
            flight.is_streamed
            and _is_streamed(request)
            and request.include_usage == flight.include_usage
        )
        flight.joiners[request.request_id] = joiner
        self.joined[request.request_id] = flight
        self.joined_bytes += joiner.size_bytes

    def leave(self, request_id: str) -> None:
        """Let a request wait no longer."""
        joiner = self.joined.pop(request_id).joiners.pop(request_id)
        self.joined_bytes -= joiner.size_bytes

    def land(self, flight: Flight[W], *, value: bytes, now_ms: float) -> Sequence[Joiner[W]]:
        """Note that a leader has ended; returns who waited for it, in order.

        Args:
            flight: The flight.
            value: The leader's terminal record, encoded; kept a moment for who comes too late.
            now_ms: Unix ms.
        """
        joiners = self._dismiss(flight)
        if flight.is_kept:
            flight.landed = value
            flight.forget_ms = now_ms + GRACE_MS
        else:
            self.forget(flight)
        return joiners

    def forget(self, flight: Flight[W]) -> Sequence[Joiner[W]]:
        """Know no more of a flight; returns who waited for it, in order."""
        self.leaders.pop(flight.leader_id.encode(), None)
        alike = self._by_key.get(flight.key, [])
        if flight in alike:
            alike.remove(flight)
        if not alike:
            self._by_key.pop(flight.key, None)
        return self._dismiss(flight)

    def overdue(self, now_ms: float) -> list[Flight[W]]:
        """Flights of which nothing more is expected."""
        return [flight for flight in self.leaders.values() if flight.forget_ms <= now_ms]

    def waiting(self) -> list[Joiner[W]]:
        """All joiners."""
        return [flight.joiners[request_id] for request_id, flight in self.joined.items()]

    @property
    def _is_full(self) -> bool:
        return len(self.joined) >= self._most_joiners or self.joined_bytes >= self._most_bytes

    def _is_known(self, request: InferenceRequested) -> bool:
        """Whether a request of this id leads or waits already: another record of it goes on."""
        return request.request_id in self.joined or request.request_id.encode() in self.leaders

    def _key(self, request: InferenceRequested, *, bypasses: bool) -> Key:
        """What identical requests have in common; past the cache only those of one key are."""
        return (
            request.tenant,
            request.fingerprint,
            bypasses,
            request.key_id if bypasses else "",
            request.feature if request.feature in self._capped_features else "",
        )

    def _dismiss(self, flight: Flight[W]) -> Sequence[Joiner[W]]:
        joiners = list(flight.joiners.values())
        for joiner in joiners:
            self.leave(joiner.request.request_id)
        return joiners


def in_order(joiners: Iterable[Joiner[W]]) -> list[Joiner[W]]:
    """The order in which joiners run again: the first of the most urgent leads the others."""
    return sorted(joiners, key=lambda joiner: joiner.request.priority)


def _is_streamed(request: InferenceRequested) -> bool:
    """Whether somebody takes the answer token by token."""
    streams = request.stream and request.operation != Operation.EMBEDDINGS
    return streams and request.reply_partition != NO_REPLY


def _joiner_count(flight: Flight[W]) -> int:
    return len(flight.joiners)
