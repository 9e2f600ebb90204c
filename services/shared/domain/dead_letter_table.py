"""All dead letters of a topic as a table: which are meant, and what can be deleted of them."""

from collections.abc import Iterable

import msgspec

from services.shared.domain.dead_letter_reasons import is_retriable
from services.shared.domain.dead_letters import DeadLetter, Mark, Place


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """A dead letter, and all that its topic knows of it.

    Attributes:
        letter: The first one of its origin.
        request_ids: The requests that its record is about, as far as that can be read.
        size_bytes: Size of its value.
        is_readable: Whether its value can be decoded now.
        is_signed: Whether its record carries a gateway's signature.
        copies: How many there are of its origin: each group that reads the topic gives it up by
            itself, and a crash may do it again.
        groups: The groups that gave it up.
        marks: Its redrives, in order.
    """

    letter: DeadLetter
    request_ids: tuple[str, ...] = ()
    size_bytes: int = 0
    is_readable: bool = False
    is_signed: bool = False
    copies: int = 1
    groups: tuple[str, ...] = ()
    marks: tuple[Mark, ...] = ()


def redrive_count(found: Found) -> int:
    """How often a record will have been put back once it is again."""
    return found.letter.redrives + len(found.marks) + 1


class Letters:
    """The dead letters of a topic, folded from its records."""

    def __init__(self) -> None:
        """Start with none."""
        self._found: dict[Place, Found] = {}
        self._marks: dict[Place, list[Mark]] = {}

    def take(self, found: Found) -> None:
        """Add a dead letter that was read; copies of one are one."""
        origin, group = found.letter.origin, found.letter.group
        known = self._found.get(origin, msgspec.structs.replace(found, copies=0, groups=()))
        self._found[origin] = msgspec.structs.replace(
            known,
            copies=known.copies + 1,
            groups=known.groups if group in known.groups else (*known.groups, group),
        )

    def mark(self, mark: Mark) -> None:
        """Add a redrive."""
        self._marks.setdefault(mark.origin, []).append(mark)

    def all(self) -> list[Found]:
        """All of them with their redrives, the oldest first."""
        marked = [
            msgspec.structs.replace(found, marks=tuple(self._marks.get(origin, ())))
            for origin, found in self._found.items()
        ]
        return sorted(marked, key=lambda found: (found.letter.died_at_ms, found.letter.origin))


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """Which dead letters are meant: those for which all holds that is set.

    Attributes:
        ids: Places of original records; empty = any.
        reasons: Why they were given up; empty = whatever.
        since_ms: Given up then or later, unix ms; None = whenever.
        until_ms: Given up before, unix ms; None = whenever.
        request_id: A request that they are about; empty = any.
        retriable: Only what may pass once the pipeline is mended.
    """

    ids: frozenset[Place] = frozenset()
    reasons: frozenset[str] = frozenset()
    since_ms: int | None = None
    until_ms: int | None = None
    request_id: str = ""
    retriable: bool = False

    def holds(self, found: Found) -> bool:
        """Whether a dead letter is meant."""
        letter = found.letter
        return (
            (not self.ids or letter.origin in self.ids)
            and (not self.reasons or letter.reason in self.reasons)
            and (self.since_ms is None or letter.died_at_ms >= self.since_ms)
            and (self.until_ms is None or letter.died_at_ms < self.until_ms)
            and (not self.request_id or self.request_id in found.request_ids)
            and (not self.retriable or is_retriable(letter.reason))
        )


class Cut(msgspec.Struct, frozen=True, kw_only=True):
    """How much of a partition can be deleted, which is only ever its beginning.

    Attributes:
        before: Everything before this offset goes.
        purged: Dead letters that go.
        left: Dead letters that are meant and stay, behind one that is not.
    """

    before: int
    purged: int
    left: int


def cut_of(records: Iterable[tuple[int, bool | None]]) -> Cut:
    """Find what can be deleted of a partition.

    Args:
        records: Offset of each record in order, and whether it is meant; None = it is no dead
            letter and goes or stays with what is around it.
    """
    before = purged = left = 0
    is_open = True
    for offset, is_meant in records:
        is_open = is_open and is_meant is not False
        if is_open:
            before = offset + 1
            purged += is_meant is True
        else:
            left += is_meant is True
    return Cut(before=before if purged else 0, purged=purged, left=left)
