"""What becomes of a request whose call may not start now.

A user is told when it may work. Background work waits in a retry topic, longer with each turn, or
as long as its own call was told to, unless its deadline comes first. Pure.
"""

from collections.abc import Mapping

from services.model_caller.decide import MAX_WAIT_FOR_PROVIDER_MS, CallFailed, failure
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


def final_error(shut: Shut, last: CallFailed | None, *, remaining_ms: float) -> PublicError:
    """The error that ends a request whose call may not start, where it is not put off.

    Args:
        shut: Why no call may start.
        last: How its last call failed, if this serving made one.
        remaining_ms: Time until its deadline.
    """
    if remaining_ms <= 0:
        return failure("deadline_exceeded", "The request's deadline passed before its call.").error
    return shut_error(shut) if last is None else last.error


def may_come_again(last: CallFailed | None) -> bool:
    """Whether a request that may not be called now may be called later: nothing speaks against it.

    Args:
        last: How its last call failed, if this serving made one.
    """
    return last is None or (last.is_retriable and not last.has_output)


def pause_after(failed: CallFailed) -> int:
    """How long a provider wants to be left alone that is not waited for here, ms; 0 = it is.

    Args:
        failed: How a call failed.
    """
    is_long = failed.retry_after_ms > MAX_WAIT_FOR_PROVIDER_MS
    return failed.retry_after_ms if is_long and may_come_again(failed) else 0


def next_turn(
    member: RequestRouted,
    *,
    headers: Mapping[str, bytes],
    now_ms: float,
    attempts: int = 0,
    pause_ms: int = 0,
) -> Emit | None:
    """The record by which a request comes again later; None = it is refused now.

    Args:
        member: The request.
        headers: Of the record it came in; they tell how often it was put off.
        now_ms: Unix ms.
        attempts: Number of calls that were made for it.
        pause_ms: How long its provider wants to be left alone; 0 = it did not say: then it waits
            longer with each turn.
    """
    request = member.request
    turns = turns_from(headers.get(RETRY_TURNS))
    wait = min(turns, len(DELAYS_MS) - 1) if pause_ms == 0 else _fitting(pause_ms)
    due_ms = int(now_ms) + DELAYS_MS[wait]
    earliest_ms = max(due_ms, int(now_ms) + pause_ms)
    if not request.priority or 0 < request.deadline_at <= earliest_ms:
        return None
    return Emit(
        topic=RETRY_TOPICS[wait],
        key=request.request_id,
        event=member,
        request=request,
        delay=Delay(due_ms=due_ms, turns=turns + 1, attempts=attempts),
    )


def _fitting(pause_ms: int) -> int:
    """The shortest delay that is no shorter than a pause, else the longest there is."""
    fitting = [wait for wait, delay_ms in enumerate(DELAYS_MS) if delay_ms >= pause_ms]
    return fitting[0] if fitting else len(DELAYS_MS) - 1


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
