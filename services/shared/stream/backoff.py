"""How long to wait before the same thing is tried again."""

import random

_FIRST_S = 0.05
_MOST_S = 2.0
_DOUBLINGS = 10


def backoff_s(attempt: int) -> float:
    """Seconds to wait after a failed attempt (0 = the first): doubling, bounded, with jitter."""
    wait_s = min(_MOST_S, _FIRST_S * (1 << min(attempt, _DOUBLINGS)))
    return wait_s * random.uniform(0.5, 1.0)  # noqa: S311  # spreads retries, keeps no secret
