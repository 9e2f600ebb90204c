"""What a loss of the log's end explains: nothing that was asked for after it."""

import re
from collections.abc import Collection

from tests.faults.checker.history import History, Violation

_FORGETFUL = frozenset({"I1", "I2", "I3", "I4", "I7", "I9", "I10"})
"""What rests on records. No loss explains another tenant's words, a stream that ends as if it were
whole, a stage that stands still, or a gateway that says it is well."""

_UNTIL_DEAD_S = 1.0
"""From the beginning of the fault until nobody can be accepted any more."""

_REQUEST_ID = re.compile(r"req_([0-9a-f]{12})[0-9a-f]{22}")
_MS_PER_S = 1000


def unexplained(found: Collection[Violation], history: History) -> list[Violation]:
    """Leave out what concerns requests and keys from before the log lost its end."""
    losses = [fault.begun_s + _UNTIL_DEAD_S for fault in history.faults if fault.forgets]
    if not losses:
        return list(found)
    over_s = max(losses)
    old_keys = {o.key for o in history.asked() if o.key and o.invoked_s < over_s}
    return [it for it in found if not _is_explained(it, over_s=over_s, old_keys=old_keys)]


def _is_explained(violation: Violation, *, over_s: float, old_keys: Collection[str]) -> bool:
    if violation.invariant not in _FORGETFUL:
        return False
    if violation.subject in old_keys:
        return True
    named = _REQUEST_ID.findall(f"{violation.subject} {violation.what}")
    asked_s = [int(time_ms, 16) / _MS_PER_S for time_ms in named]  # an id begins with its time
    return bool(asked_s) and max(asked_s) < over_s
