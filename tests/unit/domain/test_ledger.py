"""The fold of the ledger: each thing once, whatever comes twice and in whatever order."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from services.shared.domain.events import UsageKind, UsageRecorded
from services.shared.domain.ledger import LedgerKey, LedgerTotal, fold, totals
from services.shared.domain.money import Usage


def row(row_id: str = "request-1-1", kind: str = "attempt", **changes: object) -> UsageRecorded:
    """A row of tenant ``acme``."""
    fields = {"tenant": "acme", "key_id": "key-1", "model": "small", "cost_nanousd": 7}
    return msgspec.convert({**fields, **changes, "row_id": row_id, "kind": kind}, UsageRecorded)


ROWS = st.lists(
    st.builds(
        row,
        st.sampled_from(["a-1", "a-2", "b-1", "b-hit"]),
        st.sampled_from([kind.value for kind in UsageKind]),
        cost_nanousd=st.integers(0, 5),
        tenant=st.sampled_from(["acme", "other"]),
    ),
    max_size=12,
)


def test_the_first_row_of_an_id_counts() -> None:
    """A row that comes again, even with other numbers, changes nothing."""
    first, again, other = row(), row(cost_nanousd=9), row("request-1-2", cost_nanousd=1)
    assert fold([first, again, other]) == {"request-1-1": first, "request-1-2": other}


def test_unknown_yields_to_what_is_known() -> None:
    """Whether a vanished call's own row comes before or after, it is the one that counts."""
    unknown, known = row(kind="unknown", cost_nanousd=90), row()
    assert fold([unknown, known]) == fold([known, unknown]) == {"request-1-1": known}
    assert fold([unknown, unknown]) == {"request-1-1": unknown}


@given(rows=ROWS)
def test_repetition_changes_nothing(rows: list[UsageRecorded]) -> None:
    """A log that is delivered again from any place, as a whole, folds to the same ledger."""
    folded = fold(rows)
    assert fold([*rows, *rows]) == folded
    for start in range(len(rows)):
        assert fold([*rows[:start], *rows[start:], *rows[start:]]) == folded


@given(rows=ROWS, data=st.data())
def test_the_order_of_different_ids_does_not_matter(
    rows: list[UsageRecorded], data: st.DataObject
) -> None:
    """As long as the rows of one id keep theirs, rows of others may come in between."""
    ids = data.draw(st.permutations([it.row_id for it in rows]))
    queues = {
        row_id: [it for it in rows if it.row_id == row_id] for row_id in {it.row_id for it in rows}
    }
    shuffled = [queues[row_id].pop(0) for row_id in ids]
    assert fold(shuffled) == fold(rows)


@given(rows=ROWS)
def test_totals_add_up_to_the_ledger(rows: list[UsageRecorded]) -> None:
    """No row is lost or counted twice on its way into the totals."""
    ledger = fold(rows)
    sums = totals(ledger.values())
    assert sum(total.cost_nanousd for total in sums.values()) == sum(
        it.cost_nanousd for it in ledger.values()
    )
    counts = [it.attempts + it.unknown + it.hits + it.joins for it in sums.values()]
    assert sum(counts) == len(ledger)


def test_what_a_hit_saved_is_not_what_was_used() -> None:
    """Tokens count of calls alone; hits and joins say what they saved."""
    usage = Usage(input_tokens=9, output_tokens=2, cached_input_tokens=4, reasoning_output_tokens=1)
    rows = [
        msgspec.structs.replace(row(), usage=usage),
        msgspec.structs.replace(row("b-hit", "hit", cost_nanousd=0, saved_nanousd=5), usage=usage),
        msgspec.structs.replace(
            row("c-join", "join", cost_nanousd=0, saved_nanousd=6), usage=usage
        ),
        row("d-1", "unknown", cost_nanousd=100),
    ]
    key = LedgerKey(tenant="acme", key_id="key-1", model="small")
    assert totals(rows) == {
        key: LedgerTotal(
            attempts=1,
            unknown=1,
            hits=1,
            joins=1,
            input_tokens=9,
            output_tokens=2,
            cached_input_tokens=4,
            reasoning_output_tokens=1,
            cost_nanousd=107,
            saved_nanousd=11,
        )
    }
