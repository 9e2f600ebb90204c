"""Repetitions: I9 Idempotent."""

from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise

from tests.faults.checker.history import History, Operation, Violation

CONFLICT = 422
_NOT_NOW = frozenset({0, 409, 429, 500, 502, 503, 504})
"""A repetition may be refused for now, whatever its body; 0 = its answer was not seen."""


def idempotent(history: History) -> list[Violation]:
    """I9: a key stands for one request of one tenant and for one answer, byte for byte."""
    by_key: defaultdict[tuple[str, str], list[Operation]] = defaultdict(list)
    for operation in history.asked():
        if operation.key:
            by_key[operation.tenant, operation.key].append(operation)
    found = []
    owners: dict[str, tuple[str, str]] = {}
    for place, operations in by_key.items():
        found += _of_key(place[1], operations)
        for operation in operations:
            if not operation.is_accepted:
                continue
            owner = owners.setdefault(operation.request_id, place)
            if owner != place:
                what = f"answers {owner} and {place}"
                found.append(Violation("I9", operation.request_id, what))
    return found


def _of_key(key: str, operations: Sequence[Operation]) -> list[Violation]:
    accepted = sorted((o for o in operations if o.is_accepted), key=lambda o: o.invoked_s)
    if not accepted:
        return []
    found = []
    asked = {operation.fingerprint for operation in accepted}
    if len(asked) > 1:
        found.append(Violation("I9", key, f"{len(asked)} different requests were accepted"))
    for operation in operations:
        is_other = operation.fingerprint not in asked
        if is_other and operation.status not in {CONFLICT, *_NOT_NOW}:
            what = f"another body got {operation.status}, not {CONFLICT}"
            found.append(Violation("I9", key, what))
        if operation.fingerprint in asked and operation.status == CONFLICT:
            found.append(Violation("I9", key, "the same body was refused as another"))
    ids = {operation.request_id for operation in accepted}
    if len(ids) > 1 and len(asked) == 1:
        found.append(Violation("I9", key, f"stands for {len(ids)} requests"))
    return [*found, *_of_answers(key, [o for o in accepted if o.is_ok])]


def _of_answers(key: str, answered: Sequence[Operation]) -> list[Violation]:
    bodies = {operation.body for operation in answered if not operation.is_stream}
    found = []
    if len(bodies) > 1:
        found.append(Violation("I9", key, f"{len(bodies)} different answers"))
    streams = [[event.data for event in o.events] for o in answered if o.is_stream]
    found += [
        Violation("I9", key, f"its streams differ: {_difference(one, other)}")
        for one, other in pairwise(streams)
        if one != other
    ]
    return found


def _difference(one: Sequence[str], other: Sequence[str]) -> str:
    """The first place at which two streams differ; the prompts of the load are no secret."""
    place = next(
        (i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b),
        min(len(one), len(other)),
    )
    return (
        f"{len(one)} and {len(other)} events, at {place} "
        f"{one[place : place + 1]} and {other[place : place + 1]}"
    )
