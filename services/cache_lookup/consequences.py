"""What the end of a leader means for the requests that joined it."""

from enum import Enum
from typing import TypeVar

from services.cache_lookup.flights import Flight, Joiner
from services.shared.domain.errors import ERRORS, FaultDomain, PublicError
from services.shared.domain.events import InferenceFinished, Outcome
from services.shared.domain.terminal import has_answer

W = TypeVar("W")

MAX_RERUNS = 2
"""How often joiners are run again after a failure; a request may itself be what breaks us."""

_OF_THE_KEY = frozenset({"invalid_api_key", "model_not_found", "rate_limit_exceeded"})
"""Errors that another key of the tenant need not meet."""

_INTERRUPTED = PublicError(
    code="stream_interrupted",
    message="The answer was cut off: it was that of an identical request, which ended. Ask again.",
)


class Share(Enum):
    """What becomes of a joiner that is not refused."""

    ANSWER = "it gets the leader's answer"
    RUN_AGAIN = "it is on its own again"


def consequence(
    joiner: Joiner[W], flight: Flight[W], finished: InferenceFinished
) -> Share | PublicError:
    """What a leader's end means for one of its joiners; an error is what it is refused with.

    A joiner may have come after the end, before word of it: what failed, or is not to be kept, is
    then over, and the joiner runs by itself.

    Args:
        joiner: Who waited.
        flight: The flight, with the leader's own facts.
        finished: The leader's terminal record.
    """
    is_late = joiner.request.accepted_at > finished.finished_at
    if has_answer(finished):
        is_over = is_late and not flight.is_kept and not joiner.follows
        return Share.RUN_AGAIN if is_over else Share.ANSWER
    error = _error_of(finished)
    if joiner.follows and _had_output(finished):  # half an answer cannot be taken back
        return _INTERRUPTED if error is None else error
    if error is None or is_late:
        return Share.RUN_AGAIN
    if flight.reruns < MAX_RERUNS and _need_not_come_again(joiner, flight, error):
        return Share.RUN_AGAIN
    if error.code in _OF_THE_KEY and joiner.request.key_id != flight.key_id:
        return Share.RUN_AGAIN
    return error


def _need_not_come_again(joiner: Joiner[W], flight: Flight[W], error: PublicError) -> bool:
    """Whether an error is ours, or may be about what the leader alone said to its provider.

    Bodies with one fingerprint may differ: in fields that do not shape the answer, such as
    ``service_tier``, and in how numbers are written. Providers do not always name what they
    refuse, so any difference counts. A refused call costs nothing.
    """
    if error.code == "provider_rejected":
        return hash(joiner.request.body) != flight.body_hash
    return error.meaning.fault is FaultDomain.GATEWAY


def _had_output(finished: InferenceFinished) -> bool:
    return bool(finished.calls) and finished.calls[-1].first_chunk_ms >= 0


def _error_of(finished: InferenceFinished) -> PublicError | None:
    """Why a leader failed; None = it was given up, which says nothing of its joiners."""
    if finished.outcome != Outcome.FAILED or finished.error is None:
        return None
    failure = finished.error
    code = failure.code if failure.code in ERRORS else "internal_error"
    return PublicError(code=code, message=failure.message, param=failure.param)
