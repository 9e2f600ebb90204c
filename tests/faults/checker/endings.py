"""How requests end: I1 OneTerminal, I2 NoAckWithoutDurable, I19 Progress, I20 HonestHealth."""

import math
from collections import defaultdict
from collections.abc import Iterable

from tests.faults.checker.history import (
    REQUESTS,
    RESULTS,
    Entry,
    Fault,
    Health,
    History,
    Operation,
    Violation,
    first_terminals,
    request_ids,
    requests_in,
)

TERMINAL_STATES = frozenset({"completed", "failed", "cancelled", "expired"})
LEAST_PER_MINUTE = 100
UNREADY_WITHIN_S, READY_WITHIN_S = 5.0, 10.0
MARGIN_S = 1.0
"""For the time between two questions, and a busy machine."""


def one_terminal(history: History) -> list[Violation]:
    """I1: each accepted request has one terminal record that counts, and clients saw that one."""
    first = first_terminals(history)
    accepted = {o.request_id for o in history.asked() if o.is_accepted}
    owed = accepted | requests_in(history.entries(*REQUESTS))
    found = [
        Violation("I1", request_id or "?", "has no terminal record")
        for request_id in sorted(owed - first.keys())
    ]
    found += _ambiguous(history)
    for operation in history.operations:
        found += _believed(operation, first)
    return found


def _ambiguous(history: History) -> list[Violation]:
    partitions: defaultdict[str, set[int]] = defaultdict(set)
    found = []
    for entry in history.entries(RESULTS):
        for request_id in request_ids(entry.record):
            assert entry.record is not None
            partitions[request_id].add(entry.partition)
            if entry.record["outcome"] not in TERMINAL_STATES:
                found.append(Violation("I1", request_id, f"ended as {entry.record['outcome']!r}"))
    found += [
        Violation("I1", request_id, "has terminal records on two partitions, so none is first")
        for request_id, places in partitions.items()
        if len(places) > 1
    ]
    return found


def _believed(operation: Operation, first: dict[str, Entry]) -> list[Violation]:
    """Whether a client was told how its request ended by the record that counts."""
    request_id = operation.target or operation.request_id
    terminal = first.get(request_id)
    if terminal is None or terminal.record is None or operation.kind == "cancel":
        return []
    outcome = terminal.record["outcome"]
    if operation.kind == "look":
        told = operation.body if operation.is_ok else ""
        is_other = told in TERMINAL_STATES and told != outcome
    else:
        told = "completed"
        is_other = operation.is_ok and outcome != "completed"
    if not is_other:
        return []
    return [Violation("I1", request_id, f"was told {told} and the first record says {outcome}")]


def no_ack_without_durable(history: History) -> list[Violation]:
    """I2: whatever was acknowledged to a client is in the log."""
    recorded = requests_in(history.entries(*REQUESTS))
    found = []
    for operation in history.asked():
        if not operation.is_accepted:
            continue
        if not operation.request_id:
            found.append(Violation("I2", f"op {operation.op}", "was accepted without an id"))
        elif operation.request_id not in recorded:
            found.append(Violation("I2", operation.request_id, "was accepted and is not recorded"))
    return found


def progress(history: History) -> list[Violation]:
    """I19: answers go on during a fault unless nobody can be served, and soon after it; lag 0."""
    found = [
        Violation(
            "I19", f"{lag.group} {lag.topic}-{lag.partition}", f"{lag.end - lag.committed} behind"
        )
        for lag in history.lags
        if max(lag.committed, 0) < lag.end
    ]
    for fault in history.faults:
        found += _progress_of(fault, history)
    return found


def _progress_of(fault: Fault, history: History) -> list[Violation]:
    answered = [o for o in history.asked() if o.is_ok]
    found = []
    if not fault.evidence:
        found.append(Violation("I19", fault.name, "there is no evidence that it happened"))
    during = sum(fault.begun_s <= o.ended_s <= fault.healed_s for o in answered)
    least = LEAST_PER_MINUTE * (fault.healed_s - fault.begun_s) / 60
    if not fault.is_total and during < int(least):
        found.append(Violation("I19", fault.name, f"{during} answers during it, not {least:.0f}"))
    later = [o for o in history.asked() if o.invoked_s >= fault.healed_s]
    if later and not any(o.is_ok and o.ended_s <= fault.healed_s + fault.recovery_s for o in later):
        found.append(
            Violation("I19", fault.name, f"no answer within {fault.recovery_s:g} s of its end")
        )
    return found


def honest_health(history: History) -> list[Violation]:
    """I20: a gateway lives without its dependencies, and says soon when it cannot serve."""
    found = []
    for sample in history.health:
        is_victim = any(sample.gateway in fault.victims for fault in history.faults)
        if not is_victim and sample.livez != 200:
            found.append(
                Violation("I20", sample.gateway, f"/livez said {sample.livez} while it was alive")
            )
    for fault in history.faults:
        if fault.lost:
            later = [f.begun_s for f in history.faults if f.begun_s > fault.healed_s]
            found += _readiness(fault, history.health, until_s=min(later, default=math.inf))
    return found


def _readiness(fault: Fault, samples: Iterable[Health], *, until_s: float) -> list[Violation]:
    found = []
    unready_s = fault.begun_s + UNREADY_WITHIN_S + MARGIN_S
    ready_s = fault.healed_s + READY_WITHIN_S + MARGIN_S
    for sample in samples:
        if unready_s < sample.at_s < fault.healed_s and sample.readyz == 200:
            what = f"said ready {UNREADY_WITHIN_S:g} s after {fault.lost} was lost"
            found.append(Violation("I20", sample.gateway, what))
        if ready_s < sample.at_s < until_s and sample.readyz != 200:
            what = f"was unready {READY_WITHIN_S:g} s after {fault.lost} was back"
            found.append(Violation("I20", sample.gateway, what))
    return found
