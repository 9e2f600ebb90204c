"""The operation log: a line when something is begun and a line when it has ended.

An operation without a second line ended in a way that nobody knows, like one that says ``info``.
"""

import json
from collections.abc import Iterable
from typing import Any

import msgspec

from tests.faults.checker.history import Operation

INVOKE = "invoke"
VERDICTS = frozenset({"ok", "fail", "info"})


def operations_from_lines(lines: Iterable[str]) -> tuple[Operation, ...]:
    """Fold the lines of a log, in the order in which operations began.

    Raises:
        ValueError: A line is none of a log, or ends what was not begun. Not retriable.
    """
    begun: dict[int, dict[str, Any]] = {}
    for line in lines:
        fields = json.loads(line)
        kind, op, at_s = fields.pop("type"), fields["op"], fields.pop("time")
        if kind == INVOKE:
            begun[op] = {**fields, "invoked_s": at_s, "ended_s": at_s}
        elif kind in VERDICTS and op in begun:
            begun[op].update(fields, verdict=kind, ended_s=at_s)
        else:
            raise ValueError(f"{kind} of operation {op}")
    return tuple(_operation(fields) for fields in begun.values())


def _operation(fields: dict[str, Any]) -> Operation:
    is_ended = "verdict" in fields
    return msgspec.convert({**fields, "is_cut": fields.get("is_cut") or not is_ended}, Operation)
