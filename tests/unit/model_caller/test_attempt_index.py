"""The fold over the attempt log."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from services.model_caller.attempt_index import AttemptIndex, Ended, OpenAttempt
from services.shared.domain.events import ModelCallAttempt

AT_MS = 1_780_000_000_000
DUE_MS = AT_MS + 60_000


class Told:
    """An index that is told records one after another."""

    def __init__(self) -> None:
        """Begin at offset 0."""
        self.index = AttemptIndex()
        self._offset = 0

    def hear(self, kind: str, attempt: int = 1, *, at_ms: int = AT_MS, **fields: Any) -> "Told":
        """Tell a record."""
        fields = {"owner": "a.1", "request_id": "r", "deadline_at": DUE_MS, **fields}
        record = ModelCallAttempt(kind=kind, attempt=attempt, at=at_ms, **fields)
        self.index.hear(record, offset=self._offset, appended_ms=at_ms, now_s=0.0)
        self._offset += 1
        return self

    def known(self) -> OpenAttempt | Ended | None:
        """What is known of the request."""
        return self.index.find("r")


def test_the_last_attempt_counts() -> None:
    """Each record moves it on; an end stays the end."""
    told = Told()
    assert told.known() is None
    told.hear("started")
    assert told.known() == OpenAttempt(attempt=1, owner="a.1", offset=0)
    told.hear("finished")
    assert told.known() == OpenAttempt(attempt=1, owner="a.1", offset=0, is_finished=True)
    told.hear("started", 2, owner="b.1")
    assert told.known() == OpenAttempt(attempt=2, owner="b.1", offset=2)
    told.hear("finished", 2, owner="b.1", result=b"x")
    assert told.known() == Ended(3)
    told.hear("started", 3).hear("finished", 3, result=b"y").hear("alive", 0, request_id="")
    assert told.known() == Ended(3)


def test_what_comes_late_changes_nothing() -> None:
    """Of an attempt that others have gone beyond, nobody wants to hear any more."""
    told = Told().hear("started").hear("finished", owner="b.1").hear("started", 2, owner="b.1")
    known = told.known()
    told.hear("finished", result=b"x").hear("started").hear("finished")
    assert told.known() == known


def test_the_first_finish_of_an_attempt_counts() -> None:
    """A later one says nothing new, unless it ends the request between two attempts."""
    told = Told().hear("started").hear("finished").hear("finished")
    assert told.known() == OpenAttempt(attempt=1, owner="a.1", offset=0, is_finished=True)
    assert told.hear("finished", result=b"x").known() == Ended(3)


def test_a_finish_whose_start_was_not_read() -> None:
    """The log was read from somewhere in between."""
    assert Told().hear("finished").known() == OpenAttempt(attempt=1, owner="a.1", is_finished=True)
    assert Told().hear("finished", result=b"x").known() == Ended(0)


def test_what_this_process_does_is_known_at_once() -> None:
    """Before the log has it; reading it there later changes nothing."""
    told = Told()
    told.index.start("r", attempt=1, owner="me", due_ms=DUE_MS)
    assert told.known() == OpenAttempt(attempt=1, owner="me")
    told.index.start("r", attempt=1, owner="me", due_ms=DUE_MS, offset=5)
    told.hear("started", owner="me")
    assert told.known() == OpenAttempt(attempt=1, owner="me", offset=5)
    told.index.finish("r", attempt=9)
    assert told.known() == OpenAttempt(attempt=1, owner="me", offset=5)
    told.index.finish("r", attempt=1)
    assert told.known() == OpenAttempt(attempt=1, owner="me", offset=5, is_finished=True)
    told.index.end("r", offset=8)
    assert told.known() == Ended(8)
    told.index.end("r", offset=9)
    told.index.finish("unknown", attempt=1)
    assert told.known() == Ended(8)


def test_nothing_is_kept_beyond_its_deadline() -> None:
    """A minute of grace; requests without a deadline stay for a day."""
    told = Told().hear("started").hear("finished", 1, request_id="e", result=b"x")
    told.hear("started", request_id="never", deadline_at=0)
    told.index.start("mine", attempt=1, owner="me", due_ms=DUE_MS)
    assert len(told.index) == 4
    told.index.forget(now_ms=DUE_MS)
    assert len(told.index) == 4
    told.index.forget(now_ms=DUE_MS + 180_000)
    assert len(told.index) == 1
    told.index.forget(now_ms=AT_MS + 2 * 86_400_000)
    assert len(told.index) == 0
    assert told.index.is_silent("a.1", now_ms=AT_MS, now_s=0)


def test_silence_is_measured_from_when_it_was_seen() -> None:
    """Six seconds; what came last gets all of them from its reading on."""
    told = Told().hear("alive", 0, at_ms=AT_MS - 4_000, owner="old.1")
    told.hear("alive", 0, owner="new.1")

    def silent(owner: str, seconds: float) -> bool:
        return told.index.is_silent(owner, now_ms=AT_MS + seconds * 1000, now_s=seconds)

    assert silent("nobody", 0)
    assert not silent("old.1", 1.9)
    assert silent("old.1", 2.0)
    assert not silent("new.1", 5.9)
    assert silent("new.1", 6.0)


def test_clocks_may_differ() -> None:
    """Ours may go wrong by seconds without a living owner being taken for dead."""
    told = Told().hear("alive", 0, owner="new.1")
    assert not told.index.is_silent("new.1", now_ms=AT_MS + 30_000, now_s=1)
    assert told.index.is_silent("new.1", now_ms=AT_MS + 60_000, now_s=1), "but not by a minute"


RECORDS = st.lists(
    st.tuples(
        st.sampled_from(["started", "finished"]), st.integers(1, 3), st.sampled_from([b"", b"x"])
    ),
    max_size=10,
)


@given(records=RECORDS)
def test_reading_again_changes_nothing(records: list[tuple[str, int, bytes]]) -> None:
    """The index may be fed a stretch of the log that it knows already."""
    told = Told()
    for kind, attempt, result in records:
        told.hear(kind, attempt, result=result if kind == "finished" else b"")
    known = told.known()
    for offset, (kind, attempt, result) in enumerate(records):
        told.index.hear(
            ModelCallAttempt(
                kind=kind,
                owner="a.1",
                request_id="r",
                attempt=attempt,
                deadline_at=DUE_MS,
                result=result if kind == "finished" else b"",
            ),
            offset=offset,
            appended_ms=AT_MS,
            now_s=0.0,
        )
    again = told.known()
    if isinstance(known, Ended):
        assert again == known
    elif known is not None:
        assert isinstance(again, OpenAttempt)
        assert (again.attempt, again.is_finished) == (known.attempt, known.is_finished)
    assert told.index.find("other") is None


def test_targets_that_answered_without_ending_the_request_are_remembered() -> None:
    """From the log and from this process itself; failures are not; once each."""
    answered: dict[str, Any] = {"outcome": "answered", "provider": "first", "model": "one"}
    told = Told().hear("started").hear("finished", **answered).hear("finished", **answered)
    told.hear("started", 2)
    known = told.known()
    assert isinstance(known, OpenAttempt)
    assert known.left == ("first/one",)
    told.hear("finished", 2, outcome="failed", provider="second", model="two")
    told.index.start("r", attempt=3, owner="me.1", due_ms=DUE_MS)
    told.index.finish("r", attempt=3, left="third/three")
    told.index.start("r", attempt=4, owner="me.1", due_ms=DUE_MS)
    told.index.finish("r", attempt=4)
    known = told.known()
    assert isinstance(known, OpenAttempt)
    assert known.left == ("first/one", "third/three")


def test_a_request_that_is_put_off_stands_where_its_last_call_left_it() -> None:
    """One that no call was made for is not known any more."""
    told = Told()
    told.index.start("r", attempt=1, owner="me.1", due_ms=DUE_MS)
    told.index.put_off("r", attempts=0)
    told.index.put_off("r", attempts=2)
    assert told.known() is None
    told.hear("started").hear("finished")
    told.index.start("r", attempt=2, owner="me.1", due_ms=DUE_MS)
    told.index.put_off("r", attempts=1)
    known = told.known()
    assert isinstance(known, OpenAttempt)
    assert (known.attempt, known.is_finished) == (1, True)
