"""The checker is itself checked: it lets a good history pass and sees each kind of lie."""

from typing import Any

import msgspec
import pytest

from tests.faults.checker.check import CHECKS, violations
from tests.faults.checker.history import Event, Fault, Health, History, Lag
from tests.faults.checker.logs import dlq_exact
from tests.faults.checker.payments import ledger_sum
from tests.support.fault_history import (
    CANCELLED,
    HIT,
    JOINED,
    KEYED,
    RESUMED,
    SECRET,
    START_MS,
    START_S,
    STREAMED,
    UNKNOWN,
    WORDS,
    asked,
    attempt,
    body,
    call,
    dead_letter,
    entry,
    good,
    row,
    stream,
    terminal,
    usage,
    with_calls,
    with_entries,
    with_more,
    with_operation,
    without_request,
)

ERROR = Event(data='{"error": {"code": "stream_interrupted"}}')
LOST_KAFKA = Fault(
    name="kafka frozen", begun_s=START_S, healed_s=START_S + 20, is_total=True, lost="kafka",
    evidence="stopped",
)  # fmt: skip


def changed(**fields: Any) -> History:
    """The good history with other witnesses."""
    return msgspec.structs.replace(good(), **fields)


def with_dead_letters(*letters: Any) -> History:
    """The good history with other dead letters."""
    return with_entries("inference-requests-p0-dlq", lambda _: list(letters))


def leaky(letter: Any) -> Any:
    """A dead letter with a key among its headers."""
    headers = (*letter.headers, ("authorization", SECRET.encode()))
    return msgspec.structs.replace(letter, headers=headers)


def annotated(letter: Any) -> Any:
    """A dead letter with one more header."""
    return msgspec.structs.replace(letter, headers=(*letter.headers, ("again", b"1")))


def mangled_ledger(request_id: str, **fields: Any) -> History:
    """The good history with other figures in one row."""
    return with_entries(
        "usage-ledger",
        lambda entries: [
            msgspec.structs.replace(e, record={**e.record, **fields})
            if e.record is not None and e.record["request_id"] == request_id
            else e
            for e in entries
        ],
    )


def early(request_id: str, *, outcome: str) -> History:
    """The good history with a terminal record before the one that clients believed."""
    return with_entries(
        "inference-results",
        lambda entries: [
            msgspec.structs.replace(
                entries[0], offset=-1, record=terminal(request_id, outcome=outcome)
            ),
            *entries,
        ],
    )


BAD: dict[str, tuple[History, set[str]]] = {
    # I1
    "accepted and without a terminal record": (
        without_request("inference-results", HIT), {"I1", "I4", "I10"}),
    "a second client believed the second terminal": (
        early(STREAMED, outcome="failed"), {"I1"}),
    "terminals on two partitions": (
        with_more("inference-results", 0, terminal(STREAMED), partition=1), {"I1"}),
    "a terminal record that ends nothing": (
        early(CANCELLED, outcome="paused"), {"I1"}),
    "somebody looked and was told another end": (
        with_operation(12, body="failed"), {"I1"}),
    # I2
    "acknowledged and not recorded": (
        without_request("inference-requests-p0", HIT), {"I2"}),
    "acknowledged without an id": (
        with_operation(2, request_id=""), {"I1", "I2"}),
    # I3
    "called again after the answer was durable": (
        with_calls(call(STREAMED, id="again", started_ms=START_MS + 9_000)), {"I3"}),
    "a call that nobody explains": (
        with_calls(call("req_nobody")), {"I3"}),
    "a call that bears no attempt id": (
        with_calls(call("", attempt_id="")), {"I3"}),
    "one attempt called twice": (
        with_calls(call(STREAMED, id="twice")), {"I3"}),
    "called before its start was written": (
        changed(calls=(*good().calls[:-1], call(KEYED, started_ms=START_MS - 100))), {"I3"}),
    # I4
    "the ledger is off by one": (
        mangled_ledger(STREAMED, usage=usage(10, 5)), {"I4"}),
    "the ledger lacks a call": (
        without_request("usage-ledger", UNKNOWN), {"I3", "I4"}),
    "the ledger lacks a hit": (
        without_request("usage-ledger", HIT), {"I4"}),
    "the ledger lacks a join": (
        without_request("usage-ledger", JOINED), {"I4"}),
    "a row that nothing explains": (
        with_more("usage-ledger", 50, row("req_nobody")), {"I4"}),
    "a hit that costs money": (
        mangled_ledger(HIT, cost_nanousd=7), {"I4"}),
    "money in floating point": (
        mangled_ledger(UNKNOWN, cost_nanousd=0.5), {"I4"}),
    "a call costs more in the ledger than in its record": (
        mangled_ledger(STREAMED, cost_nanousd=8), {"I4"}),
    "rows of one id on two partitions": (
        with_more("usage-ledger", 0, row(STREAMED), partition=1), {"I4"}),
    "an attempt that began and has no row": (
        with_more("model-call-attempts", 50, {**attempt(STREAMED), "attempt": 2}), {"I4"}),
    # I6
    "another tenant's word": (
        with_operation(12, body="beta-word"), {"I6"}),
    # I7
    "a lost token": (
        with_operation(1, events=stream(WORDS[0], *WORDS[2:])), {"I7"}),
    "a repeated token": (
        with_operation(1, events=stream(WORDS[0], *WORDS)), {"I7"}),
    "a gap between the ids": (
        with_operation(1, events=(*stream(*WORDS)[:2], *stream(*WORDS, first_seq=1)[2:])), {"I7"}),
    "words after the end": (
        with_operation(1, events=(*stream(*WORDS), *stream(" four", is_whole=False))), {"I7"}),
    "a resume lost a token": (
        with_operation(5, events=stream(WORDS[3], first_seq=2)), {"I7"}),
    "a resume repeated a token": (
        with_operation(5, events=stream(*WORDS[1:], first_seq=2)), {"I7"}),
    "a resume read other bytes": (
        changed(operations=(*good().operations, asked(
            30, "", kind="resume", is_stream=True, target=RESUMED, verdict="info", is_left=True,
            events=stream(" other", is_whole=False)))), {"I7"}),
    "an answer in one piece is not the recorded one": (
        with_operation(9, body=body("alpha-word")), {"I7", "I9"}),
    "the provider said something else": (
        with_operation(2, expected="alpha-word and nothing else"), {"I7"}),
    # I8
    "a stream ended silently": (
        with_operation(1, events=stream(*WORDS, is_whole=False), verdict="info"), {"I8"}),
    "a stream broke and ended as if whole": (
        with_operation(1, events=(*stream(*WORDS), ERROR)), {"I7", "I8"}),
    "a stream ended without a finish reason": (
        with_operation(1, events=(*stream(*WORDS, is_whole=False), Event(data="[DONE]"))), {"I8"}),
    "half a body": (
        with_operation(2, body=body()[:-4]), {"I7", "I8"}),
    # I9
    "another body under one key": (
        with_operation(11, status=200, verdict="ok", request_id=KEYED, body=body()), {"I9"}),
    "another body refused with the wrong status": (
        with_operation(11, status=400), {"I9"}),
    "one key and two requests": (
        with_operation(10, request_id=STREAMED), {"I9"}),
    "one key and two answers": (
        with_operation(10, body=body() + " "), {"I9"}),
    "one request for two tenants' keys": (
        with_operation(10, tenant="beta"), {"I6", "I9"}),
    # I10
    "a routed request came to nothing": (
        with_more("routed-requests", 50, {"request": {"request_id": "req_nobody"}}), {"I10"}),
    "an unreadable record came to nothing": (
        with_more("cache-misses", 50, None, value=b"junk"), {"I10"}),
    "an offset beyond the end": (
        changed(lags=(Lag(group="g", topic="t", partition=0, committed=6, end=5),)), {"I10"}),
    # I11
    "a dead letter twice, told apart": (
        with_dead_letters(dead_letter(), annotated(dead_letter(1))), {"I11"}),
    "poison without a dead letter": (
        with_dead_letters(), {"I10", "I11"}),
    "a dead letter with other bytes": (
        with_dead_letters(dead_letter(value=b"other")), {"I11"}),
    "a dead letter with a secret": (
        with_dead_letters(leaky(dead_letter())), {"I11"}),
    # I19
    "a group is behind at the end": (
        changed(lags=(Lag(group="g", topic="t", partition=0, committed=4, end=5),)), {"I19"}),
    "nobody was served during a fault": (
        changed(faults=(Fault(name="f", begun_s=START_S + 20, healed_s=START_S + 30,
                              evidence="e"),)), {"I19"}),
    "nobody was served after a fault": (
        changed(faults=(Fault(name="f", begun_s=START_S - 2, healed_s=START_S, is_total=True,
                              recovery_s=0.1, evidence="e"),)), {"I19"}),
    "a fault that nobody saw": (
        changed(faults=(Fault(name="f", begun_s=START_S, healed_s=START_S + 1, is_total=True),)),
        {"I19"}),
    # I20
    "a gateway said that it is dead": (
        changed(health=(Health(at_s=START_S, gateway="gateway-1", livez=503, readyz=503),)),
        {"I20"}),
    "a gateway without Kafka said that it is ready": (
        changed(faults=(LOST_KAFKA,), health=(
            Health(at_s=START_S + 12, gateway="gateway", livez=200, readyz=200),)), {"I20"}),
    "a gateway stayed unready when Kafka was back": (
        changed(faults=(LOST_KAFKA,), health=(
            Health(at_s=START_S + 40, gateway="gateway", livez=200, readyz=503),)), {"I20"}),
}  # fmt: skip


def test_a_good_history_passes() -> None:
    """No check sees anything in a history that is as promised."""
    assert violations(good()) == []


def test_a_second_equal_terminal_is_no_lie() -> None:
    """Delivery is at least once: the first terminal counts, others are let be."""
    assert violations(with_more("inference-results", 99, terminal(STREAMED))) == []


@pytest.mark.parametrize("outcome", ["failed", "expired"])
def test_a_join_that_came_to_nothing_has_its_row(outcome: str) -> None:
    """Whoever joined is in the ledger also when the leader's error, or time, was the end of it."""
    history = with_more("inference-results", 98, terminal("req_j", outcome=outcome, cache="joined"))
    assert [str(v.subject) for v in ledger_sum(history)] == ["req_j-0"]
    ledger = [*history.topics["usage-ledger"], entry("usage-ledger", 98, row("req_j", kind="join"))]
    topics = {**history.topics, "usage-ledger": tuple(ledger)}
    assert ledger_sum(msgspec.structs.replace(history, topics=topics)) == []


def test_a_row_may_be_written_again() -> None:
    """The ledger folds by row id, and an unknown row yields to the one that knows."""
    known = with_more("usage-ledger", 99, row(UNKNOWN))
    assert violations(known) == []
    assert violations(with_more("usage-ledger", 99, row(STREAMED))) == []


@pytest.mark.parametrize("name", BAD)
def test_a_bad_history_is_seen(name: str) -> None:
    """Each lie is seen by the checks that are about it, and by no other."""
    history, expected = BAD[name]
    assert {violation.invariant for violation in violations(history)} == expected


def test_every_check_has_a_bad_history() -> None:
    """There is no check that never finds anything."""
    assert {name for _, names in BAD.values() for name in names} == set(CHECKS)


def test_a_check_can_be_left_out() -> None:
    """What is not checked is named by whoever runs the checks."""
    history, _ = BAD["the ledger is off by one"]
    assert violations(history, unchecked={"I4"}) == []


def test_a_crash_may_write_a_dead_letter_again() -> None:
    """Copies that are the same to the byte are one where something was harmed, and only there."""
    twice = with_dead_letters(dead_letter(), dead_letter(1))
    assert dlq_exact(twice) == []
    assert len(dlq_exact(msgspec.structs.replace(twice, faults=()))) == 1
