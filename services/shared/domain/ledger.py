"""The ledger: what was used and what it cost, as a fold over ``usage-ledger`` in log order."""

from collections.abc import Callable, Iterable

import msgspec

from services.shared.domain.events import InferenceRequested, UsageKind, UsageRecorded

_WITHOUT_A_CALL = frozenset({UsageKind.HIT, UsageKind.JOIN})


def row_of(
    request: InferenceRequested, kind: UsageKind, *, attempt: int, at_ms: float
) -> UsageRecorded:
    """A row with what the ledger says of a request in every row; the rest is its writer's.

    Args:
        request: The request.
        kind: What the row is about.
        attempt: Number of the call, from 1; 0 = a hit or a join, for which no call was made.
        at_ms: When it ended, unix ms.
    """
    return UsageRecorded(
        row_id=f"{request.request_id}-{attempt}",
        kind=kind.value,
        tenant=request.tenant,
        key_id=request.key_id,
        tier=request.tier,
        feature=request.feature,
        user=request.user,
        operation=request.operation,
        model=request.model,
        request_id=request.request_id,
        attempt=attempt,
        at=int(at_ms),
    )


def fold(rows: Iterable[UsageRecorded]) -> dict[str, UsageRecorded]:
    """One row an id: the first in log order, but ``unknown`` yields to what is known later.

    A request that a call has answered saved nothing, whatever it was given when it came again: its
    hit or join does not count.
    """
    folded: dict[str, UsageRecorded] = {}
    answered: set[str] = set()
    for row in rows:
        known = folded.get(row.row_id)
        if known is None or (known.kind == UsageKind.UNKNOWN and row.kind != UsageKind.UNKNOWN):
            folded[row.row_id] = row
            if row.kind == UsageKind.ATTEMPT and not row.error_code:
                answered.add(row.request_id)
    return {
        row_id: row
        for row_id, row in folded.items()
        if row.kind not in _WITHOUT_A_CALL or row.request_id not in answered
    }


class Totals(msgspec.Struct, kw_only=True):
    """What rows of the ledger add up to.

    Attributes:
        calls: Calls to providers whose end is known.
        hits: Answers from the cache.
        joins: Answers shared with a request that was running.
        unknown: Calls whose end nobody knows, as their owner vanished.
        input_tokens: Input tokens of the calls.
        output_tokens: Output tokens of the calls.
        cost_nanousd: What the calls cost, nano-USD.
        reserved_nanousd: What the unknown ones may have cost, nano-USD.
        saved_nanousd: What hits and joins would have cost as calls, and what calls would have cost
            more without prompt caches and known vectors, nano-USD.
        cached_input_tokens: Input tokens that providers served from their prompt caches.
        cache_write_input_tokens: Input tokens that providers wrote to them.
    """

    calls: int = 0
    hits: int = 0
    joins: int = 0
    unknown: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_nanousd: int = 0
    reserved_nanousd: int = 0
    saved_nanousd: int = 0
    cached_input_tokens: int = 0
    cache_write_input_tokens: int = 0

    def add(self, row: UsageRecorded) -> None:
        """Count a folded row."""
        if row.kind == UsageKind.UNKNOWN:
            self.unknown += 1
            self.reserved_nanousd += row.cost_nanousd
            return
        self.saved_nanousd += row.saved_nanousd
        if row.kind == UsageKind.HIT:
            self.hits += 1
        elif row.kind == UsageKind.JOIN:
            self.joins += 1
        else:
            self.calls += 1
            self.input_tokens += row.usage.input_tokens
            self.output_tokens += row.usage.output_tokens
            self.cost_nanousd += row.cost_nanousd
            self.cached_input_tokens += row.usage.cached_input_tokens
            self.cache_write_input_tokens += row.usage.cache_write_input_tokens


Group = tuple[str, ...]


def totals(
    rows: Iterable[UsageRecorded], *, group_of: Callable[[UsageRecorded], Group]
) -> dict[Group, Totals]:
    """Add folded rows up by group, e.g. by tenant, key and model."""
    added: dict[Group, Totals] = {}
    for row in rows:
        added.setdefault(group_of(row), Totals()).add(row)
    return added
