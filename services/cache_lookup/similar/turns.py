"""Whose turn it is to be compared, so that a busy machine compares hardly anybody in vain."""

from collections.abc import Sequence
from typing import Generic, TypeVar

import msgspec

MOST_TOGETHER = 16
"""Requests that are compared at once; some 20 ms of encoding."""

USUAL_PACE_S = 0.0015
"""What is expected of a request until something was compared."""

_CAUTION = 1.5
"""Time that there must be, as a multiple of what is expected: other processes want the CPU, too."""

_NEWS_WEIGHT = 0.2

W = TypeVar("W")


class Waiting(msgspec.Struct, Generic[W], frozen=True, eq=False):
    """A request that waits to be compared.

    Attributes:
        due_s: When it has waited for too long, by the loop's clock.
        priority: The least first.
        work: What waits.
    """

    due_s: float
    priority: int
    work: W


class Turn(msgspec.Struct, Generic[W], frozen=True, eq=False):
    """Who is compared now.

    Attributes:
        now: They are, together.
        later: They have time until the others are done.
        late: They have not: to wait would be in vain.
    """

    now: list[Waiting[W]]
    later: list[Waiting[W]]
    late: list[Waiting[W]]


def turn(waiting: Sequence[Waiting[W]], *, now_s: float, pace_s: float) -> Turn[W]:
    """Choose who is compared now: the urgent first, then who has most time left.

    Who came first is not served first: when more come than can be compared, all would be compared
    at the end of their time, and most beyond it. As many are taken as are done in time, or one, so
    that a pace that was a mistake is found out.

    Args:
        waiting: All who wait.
        now_s: The loop's clock.
        pace_s: How long a request takes, if several are compared together.
    """
    need_s = pace_s * _CAUTION
    hopeful = [it for it in waiting if it.due_s - now_s >= need_s]
    if not hopeful:
        hopeful = sorted((it for it in waiting if it.due_s > now_s), key=_place)[:1]
    in_order = sorted(hopeful, key=_place)
    count = _fitting(in_order, now_s=now_s, need_s=need_s)
    done_s = now_s + count * need_s
    taken = {id(it) for it in in_order[:count]}
    rest = [it for it in waiting if id(it) not in taken]
    return Turn(
        now=in_order[:count],
        later=[it for it in rest if it.due_s >= done_s and it.due_s > now_s],
        late=[it for it in rest if it.due_s < done_s or it.due_s <= now_s],
    )


def paced(pace_s: float, *, count: int, took_s: float) -> float:
    """The pace, after so many requests took so long."""
    return pace_s + _NEWS_WEIGHT * (took_s / count - pace_s)


def _place(waiting: Waiting[W]) -> tuple[int, float]:
    return waiting.priority, -waiting.due_s


def _fitting(in_order: Sequence[Waiting[W]], *, now_s: float, need_s: float) -> int:
    """How many of the first are done in the time that each of them has."""
    count, least_s = 0, float("inf")
    for it in in_order[:MOST_TOGETHER]:
        least_s = min(least_s, it.due_s - now_s)
        if count and (count + 1) * need_s > least_s:
            break
        count += 1
    return count
