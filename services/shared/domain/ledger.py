"""The ledger as a fold over its rows: what was used and what it cost, each thing once.

Rows come at least once and from several partitions. Rows with one id are about one thing: the first
in log order counts, and a row that knows how a call ended takes the place of one that does not
(``unknown``), wherever it stands. All rows of an id lie on one partition, so the partitions may be
read in any order.
"""

from collections.abc import Iterable

import msgspec

from services.shared.domain.events import UsageKind, UsageRecorded


class LedgerKey(msgspec.Struct, frozen=True, kw_only=True):
    """Whose use it is, and of what.

    Attributes:
        tenant: Who pays.
        key_id: Public id of the virtual key; empty for Kafka producers.
        model: Model alias asked for.
    """

    tenant: str
    key_id: str
    model: str


class LedgerTotal(msgspec.Struct, frozen=True, kw_only=True):
    """What rows add up to.

    Attributes:
        attempts: Number of calls to providers whose end is known.
        unknown: Number of calls whose end nobody knows; their cost is what was reserved.
        hits: Number of answers from the cache.
        joins: Number of requests that shared another one's call.
        input_tokens: Input tokens of calls.
        output_tokens: Output tokens of calls.
        cached_input_tokens: Input tokens that providers served from their prompt caches.
        reasoning_output_tokens: Output tokens spent on hidden reasoning.
        cost_nanousd: What all of it cost, nano-USD.
        saved_nanousd: What hits and joins would have cost, nano-USD.
    """

    attempts: int = 0
    unknown: int = 0
    hits: int = 0
    joins: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cached_input_tokens: int = 0
    reasoning_output_tokens: int = 0
    cost_nanousd: int = 0
    saved_nanousd: int = 0


_COUNTED_AS = {
    UsageKind.ATTEMPT.value: "attempts",
    UsageKind.UNKNOWN.value: "unknown",
    UsageKind.HIT.value: "hits",
    UsageKind.JOIN.value: "joins",
}


def fold(rows: Iterable[UsageRecorded]) -> dict[str, UsageRecorded]:
    """The row that counts of each row id.

    Args:
        rows: In log order within each partition.
    """
    ledger: dict[str, UsageRecorded] = {}
    for row in rows:
        standing = ledger.get(row.row_id)
        if standing is None or _yields(standing, row):
            ledger[row.row_id] = row
    return ledger


def totals(rows: Iterable[UsageRecorded]) -> dict[LedgerKey, LedgerTotal]:
    """What rows add up to, by tenant, key and model.

    Args:
        rows: Rows that count, as ``fold`` leaves them.
    """
    sums: dict[LedgerKey, LedgerTotal] = {}
    for row in rows:
        key = LedgerKey(tenant=row.tenant, key_id=row.key_id, model=row.model)
        sums[key] = _added(sums.get(key, LedgerTotal()), row)
    return sums


def _yields(standing: UsageRecorded, row: UsageRecorded) -> bool:
    unknown = UsageKind.UNKNOWN.value
    return standing.kind == unknown and row.kind != unknown


def _added(total: LedgerTotal, row: UsageRecorded) -> LedgerTotal:
    is_call = row.kind == UsageKind.ATTEMPT.value
    added = {
        "cost_nanousd": row.cost_nanousd,
        "saved_nanousd": row.saved_nanousd,
        _COUNTED_AS[row.kind]: 1,
    }
    if is_call:  # the tokens of hits and joins were not used but saved
        added |= {
            "input_tokens": row.usage.input_tokens,
            "output_tokens": row.usage.output_tokens,
            "cached_input_tokens": row.usage.cached_input_tokens,
            "reasoning_output_tokens": row.usage.reasoning_output_tokens,
        }
    return msgspec.structs.replace(
        total, **{name: getattr(total, name) + more for name, more in added.items()}
    )
