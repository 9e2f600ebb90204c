"""``millrace usage`` on rows in memory: sums, filters, and what is printed."""

import json
from collections.abc import Iterator, Sequence
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from services.cli.errors import CommandError
from services.cli.invocation import Invocation
from services.cli.usage import add_up, read_rows, report
from services.shared.codec.records import encode_record
from services.shared.domain.events import UsageRecorded
from services.shared.domain.ledger import Totals
from services.shared.domain.money import Usage
from services.shared.stream.bulk import Read


def _row(row_id: str, **changes: object) -> UsageRecorded:
    fields = {"kind": "attempt", "tenant": "acme", "key_id": "key-1", "model": "small", "at": 1_000}
    fields |= {"usage": Usage(input_tokens=9, output_tokens=12), "cost_nanousd": 1_500_000}
    return UsageRecorded(row_id=row_id, request_id=row_id, **{**fields, **changes})  # type: ignore[arg-type]


class _Reader:
    """A ledger of some records."""

    def __init__(self, *records: tuple[str, bytes | None]) -> None:
        self._reads = [
            Read(
                topic="usage-ledger",
                partition=0,
                offset=offset,
                timestamp_ms=0,
                key=key.encode(),
                value=value,
                headers=(),
            )
            for offset, (key, value) in enumerate(records)
        ]

    @property
    def total(self) -> int:
        return len(self._reads)

    def batches(self, *, follow: bool) -> Iterator[Sequence[Read]]:
        assert not follow
        yield []
        yield self._reads


@pytest.fixture
def printed() -> StringIO:
    """What is printed."""
    return StringIO()


@pytest.fixture
def invocation(printed: StringIO) -> Invocation:
    """A call whose results go there."""
    console = Console(file=printed, width=80)
    return Invocation(environ={}, folder=Path(), console=console, errors=Console(file=StringIO()))


def test_rows_are_read_in_order_of_one_tenant_or_all(invocation: Invocation) -> None:
    """The key of a row is its tenant."""
    reader = _Reader(
        ("acme", encode_record(_row("a"))), ("evil", encode_record(_row("b", tenant="evil")))
    )
    assert [row.row_id for row in read_rows(reader, invocation, tenant="")] == ["a", "b"]
    assert [row.row_id for row in read_rows(reader, invocation, tenant="evil")] == ["b"]


@pytest.mark.parametrize("value", [b"\0", None])
def test_a_row_that_cannot_be_read_is_told(invocation: Invocation, value: bytes | None) -> None:
    """A sum that leaves it out would be believed."""
    reader = _Reader(("acme", value))
    with pytest.raises(CommandError, match="usage-ledger-0-0"):
        list(read_rows(reader, invocation, tenant=""))


def test_filters_apply_to_folded_rows() -> None:
    """A row that gave way to another one counts nowhere."""
    rows = [
        _row("a", kind="unknown", at=5_000),
        _row("a", at=1_000),
        _row("b", model="large"),
        _row("c", key_id="key-2"),
    ]

    def groups(*, key: str = "", model: str = "", since_ms: int = 0) -> list[tuple[str, ...]]:
        return sorted(add_up(iter(rows), key=key, model=model, since_ms=since_ms))

    assert groups() == [
        ("acme", "key-1", "large"),
        ("acme", "key-1", "small"),
        ("acme", "key-2", "small"),
    ]
    assert groups(key="key-2") == [("acme", "key-2", "small")]
    assert groups(model="large") == [("acme", "key-1", "large")]
    assert groups(since_ms=1_001) == []


def test_sums_are_a_table(invocation: Invocation, printed: StringIO) -> None:
    """Money is exact; a producer's rows have no key."""
    added = add_up(
        iter([_row("a", key_id=""), _row("b", key_id="", kind="hit", saved_nanousd=10**9)]),
        key="",
        model="",
        since_ms=0,
    )
    report(invocation, added, as_json=False)
    heading, line = (text.split("\t") for text in printed.getvalue().splitlines())
    assert dict(zip(heading, line, strict=True)) == {
        "tenant": "acme",
        "key": "-",
        "model": "small",
        "calls": "1",
        "hits": "1",
        "joins": "0",
        "unknown": "0",
        "tokens in": "9",
        "tokens out": "12",
        "USD": "0.0015",
        "reserved USD": "0",
        "saved USD": "1",
    }


def test_nothing_is_said_to_be_nothing(invocation: Invocation, printed: StringIO) -> None:
    """Not an empty table."""
    report(invocation, {}, as_json=False)
    assert printed.getvalue() == "Nothing was used.\n"


def test_sums_for_programs_keep_money_exact(
    invocation: Invocation, capsys: pytest.CaptureFixture[str]
) -> None:
    """Dollars are text: a float would not be exact."""
    report(invocation, {("acme", "key-1", "small"): Totals(cost_nanousd=1)}, as_json=True)
    (document,) = json.loads(capsys.readouterr().out)["usage"]
    assert (document["tenant"], document["cost_usd"]) == ("acme", "0.000000001")
    assert "cost_nanousd" not in document
