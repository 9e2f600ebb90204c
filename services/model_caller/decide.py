"""What follows from a failed call: repeat it, go to the next target, or tell the caller.

Pure: the jitter and the time left are arguments.
"""

import email.utils
from collections.abc import Mapping
from datetime import UTC

import msgspec

from services.shared.domain.configuration import Retries
from services.shared.domain.errors import PublicError

MAX_WAIT_FOR_PROVIDER_MS = 2_000
"""A provider that asks for a longer pause than this is left for the next target."""

MAX_PAUSE_MS = 86_400_000
"""The longest pause that is passed on to callers: a day."""

OVERLOADED = frozenset({"provider_rate_limited", "provider_overloaded", "provider_timeout"})
"""Errors that say that a provider has too much to do."""

_RETRIABLE_STATUSES = frozenset({408, 409, 429})
_OVERLOADED_STATUSES = frozenset({503, 529})


class CallFailed(msgspec.Struct, frozen=True, kw_only=True):
    """A call that brought no whole answer.

    Attributes:
        error: The public error, should this be the end.
        is_retriable: Whether the same call may succeed later.
        is_this_target_only: Whether another target may succeed with the same request.
        retry_after_ms: The pause the provider asks for; 0 = none said.
        has_output: Whether output was already handed on: then nothing may be repeated.
    """

    error: PublicError
    is_retriable: bool
    is_this_target_only: bool = True
    retry_after_ms: int = 0
    has_output: bool = False


class Retry(msgspec.Struct, frozen=True):
    """Call the same target again after a pause."""

    wait_ms: float


class Fallback(msgspec.Struct, frozen=True):
    """Call the next target now."""


class GiveUp(msgspec.Struct, frozen=True):
    """End the request with this error."""

    error: PublicError


def next_step(  # noqa: PLR0913  # all that the decision depends on
    failed: CallFailed,
    *,
    policy: Retries,
    attempts_made: int,
    targets_left: int,
    budget_left: bool,
    is_believed: bool,
    remaining_ms: float,
    jitter: float,
) -> Retry | Fallback | GiveUp:
    """Decide what follows a failed call.

    The pause grows by doubling up to a cap, with full jitter (the AWS builders' library's
    advice); a provider's own Retry-After is obeyed when it is short. A call of the next target is
    no burden on the one that failed, so it needs no budget.

    Args:
        failed: How the call failed.
        policy: Limits of repetition.
        attempts_made: Calls made for the request so far, this one included.
        targets_left: Targets after the present one.
        budget_left: Whether the process may still repeat calls.
        is_believed: Whether others take this process for alive; if not, they may call by now.
        remaining_ms: Time until the request's deadline.
        jitter: Random number in [0, 1).
    """
    exhausted = attempts_made >= policy.max_attempts or not is_believed
    if failed.has_output or exhausted or not (failed.is_retriable or failed.is_this_target_only):
        return GiveUp(failed.error)
    may_repeat = failed.is_retriable and budget_left
    backoff_ms = min(policy.backoff_max_ms, policy.backoff_base_ms * 2 ** (attempts_made - 1))
    wait_ms = max(float(failed.retry_after_ms), backoff_ms * (0.5 + jitter / 2))
    waits_too_long = failed.retry_after_ms > MAX_WAIT_FOR_PROVIDER_MS or wait_ms >= remaining_ms
    if targets_left and (waits_too_long or not may_repeat or attempts_made > 1):
        return Fallback()
    if waits_too_long or not may_repeat:
        return GiveUp(failed.error)
    return Retry(wait_ms)


def is_of_one_member(failed: CallFailed) -> bool:
    """Whether a merged call may have failed because of one of its members.

    Then they are asked for apart; a provider that fails or is busy fails all of them.
    """
    return not failed.is_this_target_only or failed.error.code == "provider_malformed"


def retry_after_ms(headers: Mapping[str, str], *, now_ms: float) -> int:
    """The pause a provider asks for, ms; 0 = it names none that can be read.

    Reads ``retry-after-ms``, then ``retry-after`` in seconds or as an HTTP date.
    """
    for name, scale in (("retry-after-ms", 1), ("retry-after", 1000)):
        text = headers.get(name, "").strip()
        try:
            return min(MAX_PAUSE_MS, max(0, int(float(text) * scale)))
        except (ValueError, OverflowError):
            continue
    try:
        at = email.utils.parsedate_to_datetime(headers.get("retry-after", ""))
        if at.tzinfo is None:  # "-0000", by which dates of servers mean UTC too
            at = at.replace(tzinfo=UTC)
        at_ms = at.timestamp() * 1000
    except (TypeError, ValueError):
        return 0
    return min(MAX_PAUSE_MS, max(0, int(at_ms - now_ms)))


def failure_from_status(  # noqa: C901  # one branch a kind of status
    status: int, *, message: str, code: str, param: str, pause_ms: int
) -> CallFailed:
    """Read a provider's error answer.

    Args:
        status: HTTP status, not 2xx.
        message: The provider's own words, already bounded and free of secrets.
        code: The provider's own error code.
        param: The request field it names.
        pause_ms: The pause it asks for, ms.
    """

    def error(public_code: str, text: str) -> PublicError:
        return PublicError(
            code=public_code,
            message=text,
            param=param,
            retry_after_ms=pause_ms,
            upstream_status=status,
        )

    if status == 429:
        quota = code in {"insufficient_quota", "billing_hard_limit_reached"}
        text = "The provider's rate limit is reached. Try again later."
        return CallFailed(
            error=error("provider_rate_limited", text),
            is_retriable=not quota,
            retry_after_ms=pause_ms,
        )
    if status in {401, 403}:
        text = f"The gateway's own credentials were refused by the provider ({status})."
        return CallFailed(error=error("provider_authentication", text), is_retriable=False)
    if status == 404:
        text = "The provider does not know this model. Check the target in the configuration."
        return CallFailed(error=error("provider_model_not_found", text), is_retriable=False)
    if code in {"content_filter", "content_policy_violation"}:
        return CallFailed(
            error=error("content_filter", message), is_retriable=False, is_this_target_only=False
        )
    if code == "context_length_exceeded":
        return CallFailed(error=error(code, message), is_retriable=False)
    if status in _RETRIABLE_STATUSES or status >= 500:
        public = "provider_overloaded" if status in _OVERLOADED_STATUSES else "provider_error"
        text = f"The provider failed with status {status}."
        return CallFailed(error=error(public, text), is_retriable=True, retry_after_ms=pause_ms)
    if 400 <= status < 500:
        return CallFailed(
            error=error("provider_rejected", message),
            is_retriable=False,
            is_this_target_only=False,
        )
    text = f"The provider answered with status {status}, which is no answer."
    return CallFailed(error=error("provider_malformed", text), is_retriable=False)


def failure(code: str, message: str, *, has_output: bool = False) -> CallFailed:
    """A failure that has no HTTP status: the connection, the time or the bytes were at fault."""
    return CallFailed(
        error=PublicError(code=code, message=message), is_retriable=True, has_output=has_output
    )


class RetryBudget:
    """Repetitions that a process may spend: a share of its first calls, with a small allowance.

    Under an outage the share decides. A process with few requests earns its allowance back by the
    time that passes between them (as Finagle's retry budget has it), whichever is more.
    """

    ALLOWANCE = 10.0
    EARNED_PER_S = 0.5

    def __init__(self, *, ratio: float, allowance: float = ALLOWANCE) -> None:
        """Start with the allowance."""
        self._ratio = ratio
        self._most = allowance
        self._left = allowance
        self._first_call_s = 0.0

    def _earned(self, now_s: float) -> float:
        return (now_s - self._first_call_s) * self.EARNED_PER_S

    def first_call(self, *, now_s: float) -> None:
        """A request makes its first call."""
        self._left = min(self._most, self._left + max(self._ratio, self._earned(now_s)))
        self._first_call_s = now_s

    def left(self, *, now_s: float) -> float:
        """How many repetitions may be made; less than one is none."""
        return min(self._most, self._left + self._earned(now_s))

    def repeat(self, *, now_s: float) -> None:
        """A call is repeated."""
        earned = self._earned(now_s)  # `left` adds it, now and later
        self._left = min(self._left, self._most - earned) - 1.0
