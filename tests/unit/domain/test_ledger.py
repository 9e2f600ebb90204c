"""The fold of the ledger, and its sums."""

from hypothesis import given
from hypothesis import strategies as st

from services.shared.domain.events import UsageKind, UsageRecorded
from services.shared.domain.ledger import Totals, fold, totals
from services.shared.domain.money import Usage


def _row(
    row_id: str,
    kind: str = "attempt",
    *,
    cost: int = 0,
    tenant: str = "t",
    request_id: str | None = None,
    error_code: str = "",
) -> UsageRecorded:
    return UsageRecorded(
        row_id=row_id,
        kind=kind,
        tenant=tenant,
        request_id=row_id if request_id is None else request_id,
        error_code=error_code,
        usage=Usage(input_tokens=10, output_tokens=5),
        cost_nanousd=cost,
        saved_nanousd=7 if kind in {"hit", "join"} else 0,
    )


_ROWS = st.lists(
    st.builds(
        _row, st.sampled_from(["a", "b"]), st.sampled_from(list(UsageKind)), cost=st.integers(0, 9)
    )
)


def test_the_first_row_of_an_id_counts() -> None:
    """A row that was written twice, by a crash, is paid once."""
    assert fold([_row("a", cost=1), _row("b"), _row("a", cost=2)])["a"].cost_nanousd == 1


def test_unknown_yields_to_what_is_known() -> None:
    """Whichever comes first; and of two that are unknown the first counts."""
    unknown, known = _row("a", "unknown", cost=9), _row("a", cost=1)
    assert fold([unknown, known, _row("a", cost=2)]) == fold([known, unknown]) == {"a": known}
    assert fold([unknown, _row("a", "unknown", cost=3)]) == {"a": unknown}


def test_what_a_call_has_answered_saved_nothing() -> None:
    """A request that comes again may find another's answer; one whose call failed may, too."""
    paid = _row("r-1", cost=1, request_id="r")
    failed = _row("s-1", request_id="s", error_code="provider_timeout")
    for kind in ("hit", "join"):
        again = [_row("r-0", kind, request_id="r"), _row("s-0", kind, request_id="s")]
        assert fold([paid, failed, *again]).keys() == {"r-1", "s-1", "s-0"}
        assert fold([*again, paid, failed]).keys() == {"r-1", "s-1", "s-0"}


@given(_ROWS)
def test_a_fold_of_a_fold_changes_nothing(rows: list[UsageRecorded]) -> None:
    """Nor do rows that are delivered again."""
    folded = fold(rows)
    assert fold(folded.values()) == folded
    assert fold(rows + rows) == folded


def test_sums_tell_calls_from_what_was_saved_and_what_is_unknown() -> None:
    """Tokens and money of a hit or a join were not used; those of an unknown call may not be."""
    rows = [
        _row("a", cost=100),
        _row("b", "hit"),
        _row("c", "join"),
        _row("d", "unknown", cost=50),
        _row("e", cost=1, tenant="u"),
    ]
    assert totals(rows, group_of=lambda row: (row.tenant,)) == {
        ("t",): Totals(
            calls=1,
            hits=1,
            joins=1,
            unknown=1,
            input_tokens=10,
            output_tokens=5,
            cost_nanousd=100,
            reserved_nanousd=50,
            saved_nanousd=14,
        ),
        ("u",): Totals(calls=1, input_tokens=10, output_tokens=5, cost_nanousd=1),
    }
