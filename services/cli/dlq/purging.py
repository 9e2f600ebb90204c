"""Deleting dead letters, as far as a log lets one: from the beginning of each partition."""

import msgspec

from services.cli.dlq.log import Log, Progress
from services.cli.dlq.reading import described
from services.shared.domain.dead_letter_table import Cut, Found, Selection, cut_of


class Purge(msgspec.Struct, frozen=True, kw_only=True):
    """What can be deleted of a dead-letter topic.

    Attributes:
        topic: The topic.
        cuts: What can be deleted of each partition that has something to delete, or to leave.
    """

    topic: str
    cuts: dict[int, Cut]

    @property
    def purged(self) -> int:
        """Records that go; a copy is one, too."""
        return sum(cut.purged for cut in self.cuts.values())

    @property
    def left(self) -> int:
        """Records that are meant and stay."""
        return sum(cut.left for cut in self.cuts.values())


def plan_purge(log: Log, topic: str, selection: Selection, *, on_progress: Progress) -> Purge:
    """Find out what can be deleted of a dead-letter topic."""
    meant: dict[int, list[tuple[int, bool | None]]] = {}
    reader = log.reader(topic)
    try:
        for records in reader.batches(follow=False):
            on_progress(topic, len(records), reader.total)
            for record in records:
                found = described(record)
                holds = selection.holds(found) if isinstance(found, Found) else None
                meant.setdefault(record.partition, []).append((record.offset, holds))
    finally:
        reader.close()
    cuts = {partition: cut_of(sorted(records)) for partition, records in meant.items()}
    return Purge(
        topic=topic, cuts={p: cut for p, cut in sorted(cuts.items()) if cut.purged or cut.left}
    )


def purge(log: Log, planned: Purge) -> None:
    """Delete it.

    Raises:
        Unavailable: Kafka does not, or may not.
    """
    befores = {partition: cut.before for partition, cut in planned.cuts.items() if cut.purged}
    if befores:
        log.delete(planned.topic, befores)
