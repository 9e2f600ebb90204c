"""The offset tracker against a model that remembers everything."""

from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from services.shared.stream.tracker import OffsetTracker


class TrackerAgainstModel(RuleBasedStateMachine):
    """A partition whose records are delivered, finished in any order, committed and redelivered."""

    opened = Bundle("opened")

    def __init__(self) -> None:
        """Start at an offset, as a group does."""
        super().__init__()
        self.tracker = OffsetTracker(10)
        self.next = 10
        self.open: set[int] = set()
        self.done: set[int] = set()
        self.in_group = 10

    @rule(target=opened, hole=st.integers(0, 3))
    def deliver(self, hole: int) -> int:
        """A new record comes; offsets before it may hold none."""
        offset = self.next + hole
        assert self.tracker.open(offset)
        self.open.add(offset)
        self.next = offset + 1
        return offset

    @rule(offset=st.integers(0, 40))
    def deliver_again(self, offset: int) -> None:
        """What was delivered before is recognised."""
        if offset < self.next:
            assert not self.tracker.open(offset)

    @rule(offset=consumes(opened))
    def finish(self, offset: int) -> None:
        """A record finishes."""
        self.tracker.finish(offset)
        if offset in self.open:
            self.open.discard(offset)
            self.done.add(offset)

    @rule(succeeds=st.booleans())
    def commit(self, *, succeeds: bool) -> None:
        """What may be committed is committed, or the commit fails."""
        offset = self.tracker.committable()
        if offset is not None and succeeds:
            self.tracker.committed(offset)
            self.in_group = offset

    @rule(ahead=st.integers(0, 6))
    def come_back(self, ahead: int) -> None:
        """The partition comes back after somebody else may have served it for a while."""
        position = self.in_group + ahead
        self.tracker.resume_at(position)
        self.open = {offset for offset in self.open if offset >= position}
        self.next = max(self.next, position)
        self.in_group = position

    @invariant()
    def never_commits_past_an_open_record(self) -> None:
        """The commit is the lowest open offset or the end of what was delivered, if that is new."""
        expected = min(self.open, default=self.next)
        committable = self.tracker.committable()
        assert committable == (expected if expected > self.in_group else None)

    @invariant()
    def distance_is_from_the_lowest_open_record(self) -> None:
        """It tells how far commits lag behind deliveries."""
        assert self.tracker.distance == (self.next - min(self.open) if self.open else 0)


test_tracker_against_model = TrackerAgainstModel.TestCase


def test_a_new_tracker_has_nothing_to_commit() -> None:
    """A group that stands at 7 and got nothing is left alone."""
    assert OffsetTracker(7).committable() is None


def test_a_record_that_is_finished_by_its_old_owner_changes_nothing() -> None:
    """After a rebalance past it, an old open record neither blocks nor breaks commits."""
    tracker = OffsetTracker(0)
    tracker.open(0)
    tracker.open(1)
    tracker.resume_at(5)
    tracker.open(5)
    tracker.finish(0)
    tracker.finish(5)
    assert tracker.committable() == 6
