"""What is known of the calls made for requests, as a fold over the attempt log. Pure.

Of each request the last attempt is known, until the request's deadline has passed; of a request
that was ended only where its end stands in the log, never the end itself. The first ``finished`` of
an attempt counts, but one that ends the request may follow one that does not. Records may be heard
again, and older ones after newer ones.
"""

import msgspec

from services.shared.domain.events import AttemptKind, AttemptOutcome, ModelCallAttempt

SILENCE_S = 6.0
"""An owner that gave no sign of life for as long is taken for dead."""

_LONG_DEAD_S = 60.0
"""An owner that is silent for as long by the wall clock is dead, however far clocks may differ."""

_NO_DEADLINE_MS = 86_400_000
_GRACE_MS = 60_000
_MINUTE_MS = 60_000


class OpenAttempt(msgspec.Struct, frozen=True, kw_only=True):
    """The last attempt of a request that nothing has ended yet.

    Attributes:
        attempt: Its number.
        owner: Who makes the call.
        is_finished: Whether the call is over, with no end of the request.
        offset: Where its ``started`` stands in the log; -1 = not known.
        left: Targets, as ``provider/model``, that answered without ending the request: their
            answers were not good enough.
    """

    attempt: int
    owner: str
    is_finished: bool = False
    offset: int = -1
    left: tuple[str, ...] = ()


class Ended(msgspec.Struct, frozen=True):
    """A request that an attempt has ended.

    Attributes:
        offset: Where the ``finished`` with its terminal record stands in the log.
    """

    offset: int


class AttemptIndex:
    """The last attempts of requests, and the last signs of life of those who make calls."""

    def __init__(self) -> None:
        """Know nothing."""
        self._open: dict[str, OpenAttempt] = {}
        self._ended: dict[str, int] = {}
        self._due: dict[int, list[str]] = {}
        self._signs: dict[str, float] = {}
        self._broker_ahead_ms = float("-inf")  # of our monotonic clock, at least

    def __len__(self) -> int:
        """Number of requests that are known."""
        return len(self._open) + len(self._ended)

    def find(self, request_id: str) -> OpenAttempt | Ended | None:
        """What is known of a request; None = no call was ever made for it."""
        offset = self._ended.get(request_id)
        return self._open.get(request_id) if offset is None else Ended(offset)

    # -- from the log ----------------------------------------------------------------------------

    def hear(
        self, record: ModelCallAttempt, *, offset: int, appended_ms: float, now_s: float
    ) -> None:
        """Take a record of the log.

        Args:
            record: The record.
            offset: Where it stands.
            appended_ms: When the broker wrote it, unix ms of the broker.
            now_s: The monotonic clock.
        """
        self._broker_ahead_ms = max(self._broker_ahead_ms, appended_ms - now_s * 1000)
        self._signs[record.owner] = max(appended_ms, self._signs.get(record.owner, 0.0))
        match record.kind:
            case AttemptKind.STARTED:
                self._hear_started(record, offset)
            case AttemptKind.FINISHED:
                self._hear_finished(record, offset)
            case _:
                pass

    def _hear_started(self, record: ModelCallAttempt, offset: int) -> None:
        request_id = record.request_id
        known = self._open.get(request_id)
        if request_id in self._ended or (known is not None and known.attempt >= record.attempt):
            return
        if known is None:
            self._remember(request_id, record)
        self._open[request_id] = OpenAttempt(
            attempt=record.attempt, owner=record.owner, offset=offset, left=_left(known)
        )

    def _hear_finished(self, record: ModelCallAttempt, offset: int) -> None:
        request_id = record.request_id
        known = self._open.get(request_id)
        if request_id in self._ended:
            return
        if known is not None and (
            known.attempt > record.attempt
            or (known.attempt == record.attempt and known.is_finished and not record.result)
        ):
            self._open[request_id] = msgspec.structs.replace(known, left=_left(known, record))
            return
        if known is None:
            self._remember(request_id, record)
        if record.result:
            self._open.pop(request_id, None)
            self._ended[request_id] = offset
        else:
            self._open[request_id] = OpenAttempt(
                attempt=record.attempt,
                owner=record.owner if known is None else known.owner,
                is_finished=True,
                offset=-1 if known is None else known.offset,
                left=_left(known, record),
            )

    # -- what this process does ------------------------------------------------------------------

    def start(
        self, request_id: str, *, attempt: int, owner: str, due_ms: float, offset: int = -1
    ) -> None:
        """This process is about to start an attempt, or has done so.

        Args:
            request_id: The request.
            attempt: Number of the attempt.
            owner: This process.
            due_ms: When the request is worthless, unix ms.
            offset: Where its ``started`` was written; -1 = not yet.
        """
        known = self._open.get(request_id)
        if known is None:
            self._due.setdefault(int(due_ms) // _MINUTE_MS, []).append(request_id)
        self._open[request_id] = OpenAttempt(
            attempt=attempt, owner=owner, offset=offset, left=_left(known)
        )

    def finish(self, request_id: str, *, attempt: int, left: str = "") -> None:
        """An attempt is over, the request is not.

        Args:
            request_id: The request.
            attempt: Number of the attempt.
            left: Target that answered, not well enough, as ``provider/model``; empty = it failed.
        """
        known = self._open.get(request_id)
        if known is not None and known.attempt == attempt:
            self._open[request_id] = msgspec.structs.replace(
                known, is_finished=True, left=(*known.left, left) if left else known.left
            )

    def put_off(self, request_id: str, *, attempts: int) -> None:
        """No call is made for the request now; it stands where its last call left it.

        Args:
            request_id: The request.
            attempts: Number of calls that were made for it; all are over.
        """
        known = self._open.pop(request_id, None)
        if known is not None and attempts:
            self._open[request_id] = msgspec.structs.replace(
                known, attempt=attempts, is_finished=True
            )

    def end(self, request_id: str, *, offset: int) -> None:
        """The request is ended; its ``finished`` was written at this offset."""
        if self._open.pop(request_id, None) is not None:
            self._ended[request_id] = offset

    # -- who is alive ----------------------------------------------------------------------------

    def is_silent(self, owner: str, *, now_ms: float, now_s: float) -> bool:
        """Whether an owner is taken for dead.

        The broker's clock is known from the newest record: it is at least so far ahead of ours. So
        an owner whose last sign is the newest record is given the whole time from when we read it,
        unless that sign is very old by our wall clock too.

        Args:
            owner: Who makes a call.
            now_ms: The wall clock, unix ms.
            now_s: The monotonic clock.
        """
        sign_ms = self._signs.get(owner)
        if sign_ms is None:
            return True
        silent_s = (now_s * 1000 + self._broker_ahead_ms - sign_ms) / 1000
        return silent_s >= SILENCE_S or (now_ms - sign_ms) / 1000 >= _LONG_DEAD_S

    # -- forgetting ------------------------------------------------------------------------------

    def forget(self, *, now_ms: float) -> None:
        """Let go of requests whose deadline has passed, and of owners long silent."""
        over = (int(now_ms) - _GRACE_MS) // _MINUTE_MS
        for minute in [minute for minute in self._due if minute < over]:
            for request_id in self._due.pop(minute):
                self._open.pop(request_id, None)
                self._ended.pop(request_id, None)
        oldest_ms = now_ms - _NO_DEADLINE_MS
        for owner in [owner for owner, sign_ms in self._signs.items() if sign_ms < oldest_ms]:
            del self._signs[owner]

    def _remember(self, request_id: str, record: ModelCallAttempt) -> None:
        due_ms = record.deadline_at or record.at + _NO_DEADLINE_MS
        self._due.setdefault(due_ms // _MINUTE_MS, []).append(request_id)


def _left(known: OpenAttempt | None, finished: ModelCallAttempt | None = None) -> tuple[str, ...]:
    """Targets whose answers did not end the request, with that of a call which is finished."""
    left = () if known is None else known.left
    if finished is None or finished.outcome != AttemptOutcome.ANSWERED:
        return left
    name = f"{finished.provider}/{finished.model}"
    return left if name in left else (*left, name)
