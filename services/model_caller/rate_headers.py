"""What the headers of an answer say of when the next call may be made.

``Retry-After`` and ``retry-after-ms`` (RFC 9110 and OpenAI's own), and the windows that OpenAI and
those who follow it report: ``x-ratelimit-limit-``, ``-remaining-`` and ``-reset-``, each
``requests`` and ``tokens``.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime

from services.model_caller.decide import retry_after_ms

MAX_ASKED_PAUSE_MS = 600_000
"""However long a pause a provider asks for, it is tried again after this."""

_UNITS_MS = {"ms": 1.0, "s": 1_000.0, "m": 60_000.0, "h": 3_600_000.0, "d": 86_400_000.0}
_DURATION = re.compile(r"(?:[0-9]{1,9}(?:\.[0-9]{1,9})?(?:ms|[smhd]))+")
_PART = re.compile(r"([0-9.]+)(ms|[smhd])")
_NUMBER = re.compile(r"[0-9]{1,13}(\.[0-9]{1,9})?")
_EPOCH_S = 1_000_000_000
_EPOCH_MS = 1_000_000_000_000


def asked_pause_ms(headers: Mapping[str, str], *, tokens: int, now_ms: float) -> int:
    """The pause that an answer asks for before the next call, ms; 0 = none.

    Args:
        headers: Of the answer, by lower-case name.
        tokens: Tokens of a usual call.
        now_ms: Unix ms, to read dates.
    """
    if not _says_something(headers):
        return 0
    pause_ms: float = retry_after_ms(headers, now_ms=now_ms)
    for kind, needed in (("requests", 1), ("tokens", tokens)):
        pause_ms = max(pause_ms, _window_pause_ms(headers, kind, needed, now_ms))
    return int(min(MAX_ASKED_PAUSE_MS, pause_ms))


def _says_something(headers: Mapping[str, str]) -> bool:
    return (
        "retry-after" in headers
        or "retry-after-ms" in headers
        or headers.get("x-ratelimit-remaining-requests") is not None
        or headers.get("x-ratelimit-remaining-tokens") is not None
    )


def _window_pause_ms(headers: Mapping[str, str], kind: str, needed: int, now_ms: float) -> float:
    """Time until an exhausted window has room for one more call.

    ``reset`` is when the window is full again; where its size is known, a part of that will do.
    """
    remaining = _count(headers.get(f"x-ratelimit-remaining-{kind}"))
    if remaining is None or remaining > 0:
        return 0.0
    reset_ms = _time_ms(headers.get(f"x-ratelimit-reset-{kind}", ""), now_ms)
    limit = _count(headers.get(f"x-ratelimit-limit-{kind}"))
    return reset_ms * min(1.0, needed / limit) if limit else reset_ms


def _count(text: str | None) -> int | None:
    if text is None:
        return None
    text = text.strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else None


def _time_ms(text: str, now_ms: float) -> float:
    """Time until a reset: ``6m0s``, ``250ms``, seconds, unix seconds or ms, or an ISO 8601 date."""
    text = text.strip()
    if _DURATION.fullmatch(text):
        return sum(float(number) * _UNITS_MS[unit] for number, unit in _PART.findall(text))
    if _NUMBER.fullmatch(text):
        number = float(text)
        if number >= _EPOCH_MS:
            return max(0.0, number - now_ms)
        return max(0.0, number * 1000 - now_ms) if number >= _EPOCH_S else number * 1000
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return 0.0
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return max(0.0, at.timestamp() * 1000 - now_ms)
