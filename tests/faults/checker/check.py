"""All checks: each takes a history and says which promises were not kept."""

from collections.abc import Callable, Collection, Mapping

from tests.faults.checker.endings import (
    honest_health,
    no_ack_without_durable,
    one_terminal,
    progress,
)
from tests.faults.checker.history import History, Violation
from tests.faults.checker.keys import idempotent
from tests.faults.checker.logs import dlq_exact, no_gap
from tests.faults.checker.losses import unexplained
from tests.faults.checker.payments import ledger_sum, paid_once
from tests.faults.checker.streams import (
    no_silent_truncation,
    tenant_isolation,
    token_continuity,
)

CHECKS: Mapping[str, Callable[[History], list[Violation]]] = {
    "I1": one_terminal,
    "I2": no_ack_without_durable,
    "I3": paid_once,
    "I4": ledger_sum,
    "I6": tenant_isolation,
    "I7": token_continuity,
    "I8": no_silent_truncation,
    "I9": idempotent,
    "I10": no_gap,
    "I11": dlq_exact,
    "I19": progress,
    "I20": honest_health,
}


def violations(history: History, *, unchecked: Collection[str] = ()) -> list[Violation]:
    """Everything that is wrong, but for what is not to be checked and what a loss explains."""
    found = [
        violation
        for name, check in CHECKS.items()
        if name not in unchecked
        for violation in check(history)
    ]
    return unexplained(found, history)
