"""What the checker reads is what the witnesses wrote: operation log, provider's log, records."""

import json
from pathlib import Path

import pytest

from tests.faults.checker.history import Event
from tests.faults.checker.journal import calls_from_journal
from tests.faults.checker.log_reader import Schemas
from tests.faults.checker.operation_log import operations_from_lines
from tests.support.project import ROOT


def test_an_operation_is_folded_from_two_lines() -> None:
    """What was begun and how it ended become one operation."""
    lines = [
        '{"type": "invoke", "op": 1, "time": 5.0, "process": 2, "tenant": "a", "key": "k"}',
        '{"type": "ok", "op": 1, "time": 6.5, "status": 200, "request_id": "req_1",'
        ' "events": [{"data": "x", "id": "0:0:1"}]}',
    ]
    (operation,) = operations_from_lines(lines)
    assert operation.is_ok
    assert (operation.invoked_s, operation.ended_s, operation.key) == (5.0, 6.5, "k")
    assert operation.events == (Event(data="x", id="0:0:1"),)
    assert not operation.is_cut


def test_an_operation_without_an_end_is_unknown() -> None:
    """A client that vanished says nothing, and nothing is made up for it."""
    (operation,) = operations_from_lines(
        ['{"type": "invoke", "op": 1, "time": 5.0, "tenant": "a"}']
    )
    assert operation.verdict == "info"
    assert operation.is_cut


def test_an_end_without_a_beginning_is_refused() -> None:
    """A log that contradicts itself is no evidence."""
    with pytest.raises(ValueError, match="operation 1"):
        operations_from_lines(['{"type": "ok", "op": 1, "time": 5.0}'])


def test_the_last_line_of_a_call_holds(tmp_path: Path) -> None:
    """A call is written down when it is answered and when it ends; half a line is no call."""
    line = {
        "id": 1, "request_id": "r1", "model": "m", "started_ms": 5, "outcome": "open",
        "input_tokens": 3, "output_tokens": 4, "headers": {"x-millrace-attempt-id": "req_1-1"},
    }  # fmt: skip
    journal = tmp_path / "calls.jsonl"
    journal.write_text(
        f'{json.dumps(line)}\n{{"id": 9, "requ\n{json.dumps({**line, "outcome": "ok"})}\n'
    )
    (call,) = calls_from_journal(journal)
    assert (call.attempt_id, call.request_id, call.outcome) == ("req_1-1", "req_1", "ok")


def test_a_provider_that_was_never_called_wrote_nothing(tmp_path: Path) -> None:
    """No file is no call."""
    assert calls_from_journal(tmp_path / "none") == ()


@pytest.mark.parametrize("value", [None, b"", b"\x00\x00\x00\x00\x06", b"\x00\x00\x00\xff\xffx"])
def test_what_is_no_record_is_not_read(value: bytes | None) -> None:
    """Junk is None, and never an empty record."""
    assert Schemas(ROOT / "avro").decode(value) is None


def test_bytes_after_a_record_are_no_record() -> None:
    """A record that does not fill its value is not believed."""
    schemas = Schemas(ROOT / "avro")
    # CrashSuspected: topic "t", partition 0, offset 1, group "g", crashes 1
    value = b"\x00\x00\x00\x00\x07" + b"\x02t" + b"\x00" + b"\x02" + b"\x02g" + b"\x02"
    assert schemas.decode(value) == {
        "topic": "t", "partition": 0, "offset": 1, "group": "g", "crashes": 1,
    }  # fmt: skip
    assert schemas.decode(value + b"x") is None
