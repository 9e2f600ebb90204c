"""What becomes of a request whose call may not start now.

A user is told when it may work. Background work waits in a retry topic, longer with each turn,
unless its deadline comes first. Pure.
"""

from collections.abc import Mapping

from services.model_caller.decide import CallFailed, failure
from services.model_caller.wishes import Shut
from services.shared.codec.headers import RETRY_TURNS, turns_from
from services.shared.domain.emit import Delay, Emit
from services.shared.domain.errors import PublicError
from services.shared.domain.events import RequestBatch, RequestRouted
from services.shared.domain.topics import RETRY_TOPICS

DELAYS_MS = (5_000, 30_000, 300_000)
"""How long each of the retry topics keeps a request."""

_CODES = {
    "circuit": ("provider_unavailable", "The provider fails, and is left alone for a while."),
    "rate": ("provider_rate_limited", "The provider's rate limit is reached. Try again later."),
    "slots": ("provider_overloaded", "The provider has as many calls as it bears. Try again soon."),
}


def shut_error(shut: Shut) -> PublicError:
    """What a caller is told of a call that may not be made."""
    code, message = _CODES[shut.on]
    return PublicError(code=code, message=message, retry_after_ms=max(1, round(shut.wait_ms)))


def final_error(
    shut: Shut, last: CallFailed | None, *, has_calls: bool, remaining_ms: float
) -> PublicError | None:
    """The error that ends a request whose call may not start; None = it may be put off.

    What was called already is not put off: its answer so far is the last failure.

    Args:
        shut: Why no call may start.
        last: How its last call failed, if this serving made one.
        has_calls: Whether calls were made for it, also before.
        remaining_ms: Time until its deadline.
    """
    if remaining_ms <= 0:
        return failure("deadline_exceeded", "The request's deadline passed before its call.").error
    if last is not None:
        return last.error
    return shut_error(shut) if has_calls else None


def next_turn(member: RequestRouted, *, headers: Mapping[str, bytes], now_ms: float) -> Emit | None:
    """The record by which a request comes again later; None = it is refused now.

    Args:
        member: The request, for which no call was made.
        headers: Of the record it came in; they tell how often it was put off.
        now_ms: Unix ms.
    """
    request = member.request
    turns = turns_from(headers.get(RETRY_TURNS))
    wait = min(turns, len(DELAYS_MS) - 1)
    due_ms = int(now_ms) + DELAYS_MS[wait]
    if not request.priority or 0 < request.deadline_at <= due_ms:
        return None
    return Emit(
        topic=RETRY_TOPICS[wait],
        key=request.request_id,
        event=member,
        request=request,
        delay=Delay(due_ms=due_ms, turns=turns + 1),
    )


def batch_of_one(member: RequestRouted) -> RequestBatch:
    """A request that was put off, as the batch that it is served as."""
    request = member.request
    return RequestBatch(
        batch_id=f"batch_{request.request_id}",
        lane=member.lane,
        merge=False,
        closed_by="lone",
        opened_at=request.accepted_at,
        members=(member,),
    )
