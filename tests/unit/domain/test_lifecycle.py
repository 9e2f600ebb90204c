"""The life of a request: every path ends, and nothing follows an end."""

import pytest

from services.shared.domain.events import Outcome
from services.shared.domain.lifecycle import NEXT, TERMINAL, State, may_follow


def reachable(state: State) -> set[State]:
    """All states that a request in a state may come to."""
    found: set[State] = set()
    waiting = [state]
    while waiting:
        for following in NEXT[waiting.pop()] - found:
            found.add(following)
            waiting.append(following)
    return found


def test_the_table_knows_every_state() -> None:
    """No state is without a row, and no row leads to an unknown state."""
    assert set(NEXT) == set(State)
    assert frozenset().union(*NEXT.values()) <= set(State)


def test_ends_are_the_outcomes_of_a_terminal_record() -> None:
    """A request is over when, and only when, a terminal record says so."""
    assert {state.value for state in TERMINAL} == {outcome.value for outcome in Outcome}


@pytest.mark.parametrize("state", State)
def test_every_state_can_end_in_every_failure(state: State) -> None:
    """At any time a request may fail, be cancelled or expire, until it has ended."""
    ends = {State.FAILED, State.CANCELLED, State.EXPIRED}
    assert reachable(state) & ends == (set() if state in TERMINAL else ends)


@pytest.mark.parametrize("state", State)
def test_no_path_goes_in_a_circle(state: State) -> None:
    """A request never comes back to where it was, so every path ends."""
    assert state not in reachable(state)


def test_every_state_lies_on_the_way_of_some_request() -> None:
    """From acceptance all other states can be reached."""
    assert reachable(State.ACCEPTED) == set(State) - {State.ACCEPTED}


def test_only_an_answer_completes() -> None:
    """The cache completes at once, a model after a batch; nothing skips a stage."""
    assert may_follow(State.ACCEPTED, State.COMPLETED)
    assert may_follow(State.BATCHED, State.COMPLETED)
    assert not may_follow(State.MISSED, State.COMPLETED)
    assert not may_follow(State.ACCEPTED, State.ROUTED)
    assert not may_follow(State.COMPLETED, State.FAILED)
