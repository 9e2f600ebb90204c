"""The life of a request, as a table.

A record on a topic is a fact about its request; the table says which fact may follow which. Every
path ends in one of ``TERMINAL``; the first terminal record in log order is the truth.
"""

from enum import StrEnum


class State(StrEnum):
    """Where a request is."""

    ACCEPTED = "accepted"
    MISSED = "missed"
    ROUTED = "routed"
    BATCHED = "batched"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


_ENDS = frozenset({State.FAILED, State.CANCELLED, State.EXPIRED})

NEXT: dict[State, frozenset[State]] = {
    State.ACCEPTED: _ENDS | {State.MISSED, State.COMPLETED},  # completed = answered by the cache
    State.MISSED: _ENDS | {State.ROUTED},
    State.ROUTED: _ENDS | {State.BATCHED},
    State.BATCHED: _ENDS | {State.COMPLETED},
    State.COMPLETED: frozenset(),
    State.FAILED: frozenset(),
    State.CANCELLED: frozenset(),
    State.EXPIRED: frozenset(),
}

TERMINAL = frozenset(state for state, following in NEXT.items() if not following)


def may_follow(state: State, following: State) -> bool:
    """Whether a request in ``state`` may next be in ``following``."""
    return following in NEXT[state]
