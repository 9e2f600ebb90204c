"""The checker of fault tests finds every kind of lie in a history, and none in a true one."""

import msgspec
import pytest

from tests.support.history import (
    Operation,
    Terminal,
    contradictions,
    first_terminals,
    lost,
    table,
    tally,
)

WHOLE = Operation(
    is_stream=True,
    invoked_s=1.0,
    ended_s=2.0,
    status=200,
    request_id="a",
    text="two words",
    is_done=True,
)
ENDED = Terminal(request_id="a", partition=0, offset=5, outcome="completed", text="two words")
BROKEN = msgspec.structs.replace(WHOLE, text="two", is_done=False, error_code="stream_interrupted")
CUT = msgspec.structs.replace(WHOLE, text="two", is_done=False, is_cut=True)
REFUSED = Operation(
    is_stream=False, invoked_s=3.0, ended_s=3.1, status=503, request_id="b", error_code="away"
)
UNSEEN = Operation(is_stream=False, invoked_s=4.0, ended_s=4.1, is_cut=True)
FAILED = msgspec.structs.replace(ENDED, outcome="failed", text="")


@pytest.mark.parametrize(
    ("operations", "terminals"),
    [
        pytest.param([WHOLE], [ENDED], id="answered"),
        pytest.param([WHOLE], [ENDED, msgspec.structs.replace(FAILED, offset=9)], id="repeated"),
        pytest.param([BROKEN], [ENDED], id="broken_and_answered_later"),
        pytest.param([BROKEN], [FAILED], id="broken_and_failed"),
        pytest.param([CUT], [ENDED], id="cut"),
        pytest.param([REFUSED], [], id="refused"),
        pytest.param([UNSEEN], [], id="never_connected"),
    ],
)
def test_a_true_history_is_accepted(operations: list[Operation], terminals: list[Terminal]) -> None:
    """Refusals need no record; a broken stream's request may have ended either way."""
    assert lost(operations, terminals) == []
    assert contradictions(operations, terminals) == []


@pytest.mark.parametrize(
    ("operation", "terminals", "complaint"),
    [
        pytest.param(
            msgspec.structs.replace(BROKEN, is_done=True),
            [ENDED],
            "a broke and ended as if it were whole",
            id="done_after_error",
        ),
        pytest.param(
            msgspec.structs.replace(CUT, is_done=True),
            [ENDED],
            "a broke and ended as if it were whole",
            id="done_and_cut",
        ),
        pytest.param(
            msgspec.structs.replace(BROKEN, error_code=""),
            [ENDED],
            "a ended without saying how",
            id="clean_end_without_done",
        ),
        pytest.param(
            WHOLE, [FAILED], "a was answered and is recorded as failed", id="other_outcome"
        ),
        pytest.param(
            WHOLE,
            [msgspec.structs.replace(FAILED, offset=3), ENDED],
            "a was answered and is recorded as failed",
            id="the_first_record_counts",
        ),
        pytest.param(
            msgspec.structs.replace(WHOLE, text="two"),
            [ENDED],
            "a was answered with another text than is recorded",
            id="lost_token",
        ),
        pytest.param(
            msgspec.structs.replace(BROKEN, text="two two"),
            [ENDED],
            "a was streamed words that are not in its answer",
            id="repeated_token",
        ),
        pytest.param(
            WHOLE,
            [ENDED, msgspec.structs.replace(ENDED, partition=1)],
            "a has terminal records on two partitions",
            id="two_partitions",
        ),
        pytest.param(
            BROKEN,
            [msgspec.structs.replace(ENDED, outcome="running")],
            "a ended as running",
            id="no_terminal_state",
        ),
        pytest.param(
            msgspec.structs.replace(WHOLE, request_id=""),
            [],
            "? was accepted without an id",
            id="no_id",
        ),
    ],
)
def test_a_lie_is_found(operation: Operation, terminals: list[Terminal], complaint: str) -> None:
    """Each kind, by its name."""
    assert complaint in contradictions([operation], terminals)


def test_a_lost_request_is_found() -> None:
    """Accepted, whole or broken, and nowhere in the log."""
    others = [msgspec.structs.replace(ENDED, request_id="other")]
    for operation in (WHOLE, BROKEN, CUT):
        assert lost([operation, REFUSED, UNSEEN], others) == ["a"]


def test_the_first_record_of_a_partition_counts() -> None:
    """In whatever order they were read."""
    later = msgspec.structs.replace(FAILED, offset=9)
    assert first_terminals([later, ENDED]) == first_terminals([ENDED, later]) == {"a": ENDED}


def test_a_scenario_is_counted() -> None:
    """Every operation once, gaps between whole answers, the time to the first after the fault."""
    again = msgspec.structs.replace(WHOLE, invoked_s=6.0, ended_s=7.5, request_id="c")
    operations = [WHOLE, BROKEN, REFUSED, UNSEEN, again]
    counted = tally("fault", operations, [ENDED, FAILED], fault_s=5.0)
    assert (counted.requests, counted.ok, counted.refused, counted.unknown) == (5, 2, 1, 1)
    assert (counted.broken_streams, counted.lost, counted.repeated) == (1, 1, 1)
    assert (counted.longest_gap_s, counted.recovered_s) == (5.5, 2.5)
    heading, row = table([counted]).splitlines()
    assert len(heading) == len(row)
