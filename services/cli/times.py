"""Points in time as people write them: an age, or a date and time."""

import re
from datetime import UTC, datetime

from services.cli.errors import CommandError

_AGE = re.compile(r"(\d+)([smhd])")
_UNIT_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


def time_ms(option: str, text: str, *, now_ms: float) -> int | None:
    """Read an age (``90s``, ``10m``, ``2h``, ``1d``) or an ISO 8601 time; None = not given.

    Args:
        option: Name of the option, for the error.
        text: What was given. A time without an offset is UTC.
        now_ms: Unix ms.

    Raises:
        CommandError: It is neither.
    """
    if not text:
        return None
    if match := _AGE.fullmatch(text):
        return int(now_ms) - int(match[1]) * _UNIT_MS[match[2]]
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise CommandError(
            f"{option} {text}: write an age such as 10m, 2h or 1d, or a time such as "
            "2026-11-29T18:00Z."
        ) from error
    aware = time if time.tzinfo else time.replace(tzinfo=UTC)
    return int(aware.timestamp() * 1000)


def time_text(unix_ms: int) -> str:
    """A time as ISO 8601 in UTC, to the second."""
    return datetime.fromtimestamp(unix_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
