"""The provider's own log: one JSON object a line, the last line of an id holds."""

import json
from pathlib import Path

from tests.faults.checker.history import Call

ATTEMPT_HEADER = "x-millrace-attempt-id"


def calls_from_journal(path: Path) -> tuple[Call, ...]:
    """Read what a provider wrote down, also one that was killed while it wrote.

    A provider answers a call only when its line is on the disk, so half a line at the end of what
    one process wrote stands for a call that nobody got an answer to.
    """
    found: dict[str, Call] = {}
    if not path.exists():
        return ()
    for line in path.read_bytes().split(b"\n"):
        call = _call(line)
        if call is not None:
            found[call.id] = call
    return tuple(found.values())


def _call(line: bytes) -> Call | None:
    try:
        fields = json.loads(line)
    except ValueError:
        return None
    return Call(
        id=fields["request_id"],  # its `id` counts anew in each process
        attempt_id=fields["headers"].get(ATTEMPT_HEADER, ""),
        model=fields["model"],
        started_ms=fields["started_ms"],
        outcome=fields["outcome"],
        input_tokens=fields["input_tokens"],
        output_tokens=fields["output_tokens"],
    )
