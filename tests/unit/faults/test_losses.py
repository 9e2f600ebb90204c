"""What the checker forgives when a log has lost its end, and what it never does."""

import pytest

from tests.faults.checker.history import Fault, History, Violation
from tests.faults.checker.losses import unexplained
from tests.support.fault_history import asked

AT_S = 1_796_000_000.0


def request_id(at_s: float) -> str:
    """An id of a request that was accepted at a time."""
    return f"req_{int(at_s * 1000):012x}" + "7" * 22


BEFORE, AFTER = request_id(AT_S - 5), request_id(AT_S + 30)


def history(*, forgets: bool = True) -> History:
    """A loss, and a key that was used before it and one that was used after it."""
    return History(
        operations=(
            asked(1, BEFORE, key="old", invoked_s=AT_S - 5),
            asked(2, AFTER, key="new", invoked_s=AT_S + 30),
        ),
        faults=(
            Fault(name="power", begun_s=AT_S, healed_s=AT_S + 20, evidence="gone", forgets=forgets),
        ),
    )


@pytest.mark.parametrize(
    "violation",
    [
        Violation("I1", BEFORE, "has no terminal record"),
        Violation("I3", f"{BEFORE}-2", "was called and is not in the ledger"),
        Violation("I10", "cache-misses-0@7", f"{BEFORE} came to nothing"),
        Violation("I9", "old", "stands for 2 requests"),
    ],
    ids=str,
)
def test_a_loss_explains_what_rests_on_older_records(violation: Violation) -> None:
    """Requests and keys of before it may be gone, and what was known of them."""
    assert unexplained([violation], history()) == []


@pytest.mark.parametrize(
    "violation",
    [
        Violation("I1", AFTER, "has no terminal record"),
        Violation("I3", f"{AFTER}-1", "a call that nobody explains"),
        Violation("I10", "cache-misses-0@7", f"{BEFORE}, {AFTER} came to nothing"),
        Violation("I10", "router cache-misses-0", "12 is beyond its end"),
        Violation("I9", "new", "stands for 2 requests"),
        Violation("I6", BEFORE, "shows beta's word"),
        Violation("I8", BEFORE, "ended without saying how"),
        Violation("I19", "router cache-misses-0", "3 behind"),
    ],
    ids=str,
)
def test_nothing_else_is_forgiven(violation: Violation) -> None:
    """Whatever names a request or key of after it, or needs no record, still counts."""
    assert unexplained([violation], history()) == [violation]


def test_other_faults_explain_nothing() -> None:
    """A kill, or a power loss with every write on the disk, forgives no violation."""
    violation = Violation("I1", BEFORE, "has no terminal record")
    assert unexplained([violation], history(forgets=False)) == [violation]
