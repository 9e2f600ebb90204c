"""Dead letters by their headers: what is read, what is meant, what goes back, what can go."""

import re
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.shared.domain import dead_letters as names
from services.shared.domain.dead_letter_reasons import REASONS, is_retriable
from services.shared.domain.dead_letter_table import (
    Cut,
    Found,
    Letters,
    Selection,
    cut_of,
    redrive_count,
)
from services.shared.domain.dead_letters import (
    DeadLetter,
    Mark,
    Place,
    headers_of_mark,
    headers_of_redriven,
    original_headers,
    read_dead_letter,
    read_place,
)
from tests.support.project import ROOT, sources_of_services

_AT = Place("t-dlq", 1, 7)
_ORIGIN = Place("t", 1, 42)
_HEADERS = {
    names.ORIGINAL_TOPIC: b"t",
    names.ORIGINAL_PARTITION: struct.pack(">i", 1),
    names.ORIGINAL_OFFSET: struct.pack(">q", 42),
    names.ORIGINAL_TIMESTAMP: struct.pack(">q", 1_000),
    names.ORIGINAL_TIMESTAMP_TYPE: b"CreateTime",
    names.ORIGINAL_GROUP: b"router",
    names.EXCEPTION: b"millrace.decode_error",
    names.MESSAGE: b"the record is cut off",
}
_LETTER = DeadLetter(
    place=_AT,
    origin=_ORIGIN,
    reason="decode_error",
    detail="the record is cut off",
    group="router",
    written_at_ms=1_000,
    died_at_ms=2_000,
)


def _letter_of(**changes: bytes | None) -> DeadLetter | Mark | None:
    """A dead letter with changed headers, by the names of their constants; None takes one away."""
    changed = {getattr(names, name): content for name, content in changes.items()}
    headers = [(n, c) for n, c in {**_HEADERS, **changed}.items() if c is not None]
    return read_dead_letter(_AT, headers, timestamp_ms=2_000)


@given(
    st.text("ab0.-", min_size=1, max_size=20),
    st.integers(0, 2**31 - 1),
    st.integers(0, 2**63 - 1),
)
def test_a_place_reads_as_it_is_written(topic: str, partition: int, offset: int) -> None:
    """Topics have hyphens, too."""
    assert read_place(str(Place(topic, partition, offset))) == Place(topic, partition, offset)


@pytest.mark.parametrize(
    "text", ["", "t", "t-1", "-1-2", "t-1-x", "t-x-2", "t-1-", "t--2", "t-1-²"]
)
def test_what_is_no_place_is_none(text: str) -> None:
    """A mistyped id names no record."""
    assert read_place(text) is None


def test_springs_headers_are_read() -> None:
    """Numbers are big-endian, the reason is behind our prefix."""
    assert _letter_of() == _LETTER


def test_of_several_headers_of_a_name_ours_counts_which_is_last() -> None:
    """A producer may have written such headers itself, to say that its record is another one."""
    forged = [(names.ORIGINAL_TOPIC, b"evil"), *_HEADERS.items()]
    assert read_dead_letter(_AT, forged, timestamp_ms=2_000) == _LETTER


@pytest.mark.parametrize(
    "changes",
    [
        {"ORIGINAL_TOPIC": None},
        {"ORIGINAL_PARTITION": b"1"},
        {"ORIGINAL_OFFSET": None},
        {"ORIGINAL_OFFSET": b""},
        {"ORIGINAL_TIMESTAMP": None},
        {"ORIGINAL_TOPIC": b"\xff"},
        {"EXCEPTION": None},
    ],
)
def test_a_record_of_somebody_else_is_no_dead_letter(changes: dict[str, bytes | None]) -> None:
    """Whoever else writes the topic breaks nothing."""
    assert _letter_of(**changes) is None


def test_counts_of_a_stranger_are_not_believed() -> None:
    """A header that is no number counts as none."""
    letter = _letter_of(REDRIVES=b"-1", OMITTED=b"x")
    assert isinstance(letter, DeadLetter)
    assert (letter.redrives, letter.omitted_bytes) == (0, -1)
    letter = _letter_of(REDRIVES=b"3", OMITTED=b"9000000")
    assert isinstance(letter, DeadLetter)
    assert (letter.redrives, letter.omitted_bytes) == (3, 9_000_000)


def test_a_mark_reads_as_it_is_written() -> None:
    """It names the dead letter, its origin and where the record went."""
    to = Place("t", 1, 99)
    headers = headers_of_mark(_LETTER, to=to, at_ms=5)
    expected = Mark(origin=_ORIGIN, letter=_AT, to=to, at_ms=5)
    assert read_dead_letter(Place("t-dlq", 1, 8), headers, timestamp_ms=6) == expected


@pytest.mark.parametrize("number", range(4))
@pytest.mark.parametrize("content", [b"nowhere", b"\xff"])
def test_a_broken_mark_is_none(number: int, content: bytes) -> None:
    """It says nothing of any dead letter."""
    headers = headers_of_mark(_LETTER, to=_ORIGIN, at_ms=5)
    headers[number] = (headers[number][0], content)
    assert read_dead_letter(_AT, headers, timestamp_ms=6) is None


def test_what_goes_back_has_its_own_headers_and_its_provenance_once() -> None:
    """Also after several rounds: a header that is there twice would be poison by itself."""
    own = [("traceparent", b"x"), ("millrace-tenant", b"acme")]
    first = headers_of_redriven(
        [*own, *_HEADERS.items(), (names.OMITTED, b"1")], letter=_AT, at_ms=5, count=1
    )
    assert first == [
        *own,
        (names.REDRIVEN_FROM, b"t-dlq-1-7"),
        (names.REDRIVEN_AT, b"5"),
        (names.REDRIVES, b"1"),
    ]
    again = headers_of_redriven([*first, *_HEADERS.items()], letter=_ORIGIN, at_ms=6, count=2)
    assert dict(again)[names.REDRIVES] == b"2"
    assert len(dict(again)) == len(again) == len(first)
    assert original_headers(again) == own


def _found(offset: int = 42, **changes: object) -> Found:
    letter = {"origin": Place("t", 1, offset), **{k: v for k, v in changes.items() if k in _FIELDS}}
    rest = {k: v for k, v in changes.items() if k not in _FIELDS}
    fields = {name: getattr(_LETTER, name) for name in _FIELDS} | letter
    return Found(letter=DeadLetter(**fields), **rest)  # type: ignore[arg-type]


_FIELDS = DeadLetter.__struct_fields__


def test_copies_of_one_record_are_one_dead_letter() -> None:
    """A crash writes it again, and each group that reads the topic writes its own."""
    letters = Letters()
    letters.take(_found(died_at_ms=2_000))
    letters.take(_found(died_at_ms=3_000))
    letters.take(_found(died_at_ms=4_000, group="exporter"))
    (found,) = letters.all()
    assert (found.copies, found.groups) == (3, ("router", "exporter"))
    assert found.letter.died_at_ms == 2_000


def test_dead_letters_know_their_redrives() -> None:
    """A redrive belongs to the record, whichever copy it was made of; the oldest come first."""
    letters = Letters()
    letters.take(_found(1, died_at_ms=3_000))
    letters.take(_found(2, died_at_ms=1_000))
    mark = Mark(origin=Place("t", 1, 1), letter=_AT, to=Place("t", 1, 9), at_ms=5)
    letters.mark(mark)
    old, new = letters.all()
    assert (old.letter.origin.offset, old.marks) == (2, ())
    assert new.marks == (mark,)
    assert (redrive_count(old), redrive_count(new)) == (1, 2)
    assert redrive_count(_found(redrives=4)) == 5


@pytest.mark.parametrize(
    ("selection", "is_meant"),
    [
        (Selection(), True),
        (Selection(ids=frozenset({_ORIGIN})), True),
        (Selection(ids=frozenset({_AT})), False),
        (Selection(reasons=frozenset({"decode_error", "bad_key"})), True),
        (Selection(reasons=frozenset({"bad_key"})), False),
        (Selection(since_ms=2_000, until_ms=2_001), True),
        (Selection(since_ms=2_001), False),
        (Selection(until_ms=2_000), False),
        (Selection(request_id="request-1"), True),
        (Selection(request_id="request-2"), False),
        (Selection(retriable=True), False),
        (Selection(ids=frozenset({_ORIGIN}), request_id="request-2"), False),
    ],
)
def test_all_that_is_asked_must_hold(selection: Selection, *, is_meant: bool) -> None:
    """Filters narrow each other down."""
    assert selection.holds(_found(request_ids=("request-1", "request-3"))) is is_meant


def test_what_may_pass_once_mended_is_meant_by_retriable() -> None:
    """The class of the reason decides."""
    assert Selection(retriable=True).holds(_found(reason="schema_unknown"))


@pytest.mark.parametrize(
    ("records", "cut"),
    [
        ([], Cut(before=0, purged=0, left=0)),
        ([(0, False), (1, True)], Cut(before=0, purged=0, left=1)),
        ([(3, True), (4, None), (6, True)], Cut(before=7, purged=2, left=0)),
        ([(3, True), (4, None), (6, False), (7, True)], Cut(before=5, purged=1, left=1)),
        ([(3, None), (4, None)], Cut(before=0, purged=0, left=0)),
    ],
)
def test_only_a_beginning_can_be_deleted(records: list[tuple[int, bool | None]], cut: Cut) -> None:
    """Up to the first dead letter that is not meant; marks go with what is around them."""
    assert cut_of(records) == cut


@given(st.lists(st.sampled_from([True, False, None])))
def test_nothing_is_deleted_that_is_not_meant(meant: list[bool | None]) -> None:
    """And each that is meant goes, or is counted as left."""
    cut = cut_of(enumerate(meant))
    assert False not in meant[: cut.before]
    assert cut.purged == meant[: cut.before].count(True)
    assert cut.purged + cut.left == meant.count(True)


def test_every_reason_has_a_class_and_is_told_of() -> None:
    """Whatever the code gives a record up for is in the table and in the page of promises."""
    source = sources_of_services()
    given_up_for = set(re.findall(r'(?:PoisonRecord|Undecodable)\(\s*"(\w+)"', source))
    given_up_for |= {"tenant_mismatch", "header_mismatch"}  # chosen in an expression
    assert given_up_for == set(REASONS)
    page = (ROOT / "docs/delivery.md").read_text()
    assert [reason for reason in REASONS if f"`{reason}`" not in page] == []


def test_an_unknown_reason_is_not_retriable() -> None:
    """A newer release may have written it: this one does not know what it means."""
    assert not is_retriable("something_new")
    assert is_retriable("crash_loop")
