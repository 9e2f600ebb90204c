"""All of ``cache-entries`` for the command line, and tombstones for what is purged."""

from collections.abc import Sequence

import msgspec

from services.shared.codec.records import decode_record
from services.shared.domain.errors import PoisonRecord, Unavailable
from services.shared.domain.events import AnswerCached
from services.shared.domain.topics import Topic
from services.shared.stream.bulk import BulkReader, BulkWriter, Position


class Held(msgspec.Struct, frozen=True):
    """An entry that the cache holds.

    Attributes:
        entry: The entry.
        partition: Where it stands; its tombstone has to stand there too.
    """

    entry: AnswerCached
    partition: int


class EntryLog:
    """The entries of a cluster."""

    def __init__(self, bootstrap: str) -> None:
        """Connect to brokers when it is asked something."""
        self._bootstrap = bootstrap

    def held(self) -> dict[str, Held]:
        """All entries that were not purged, by id, in the order of their admission.

        Raises:
            Unavailable: No broker answers. Retriable.
        """
        held: dict[str, Held] = {}
        reader = BulkReader(self._bootstrap, Topic.CACHE_ENTRIES, position=Position())
        try:
            for records in reader.batches(follow=False):
                for record in records:
                    entry_id = (record.key or b"").decode(errors="replace")
                    held.pop(entry_id, None)
                    entry = None if record.value is None else _decoded(record.value)
                    if entry is not None:
                        held[entry_id] = Held(entry, record.partition)
        finally:
            reader.close()
        return held

    def bury(self, purged: Sequence[Held]) -> None:
        """Write the tombstones; returns when all are acknowledged.

        Raises:
            Unavailable: Not all were; to purge again is harmless.
        """
        writer = BulkWriter(self._bootstrap)
        failed: list[str] = []
        for held in purged:
            writer.write(
                Topic.CACHE_ENTRIES,
                key=held.entry.entry_id.encode(),
                value=None,
                headers=[],
                on_acknowledged=lambda why: failed.append(why) if why else None,
                partition=held.partition,
            )
        missing = writer.flush()
        if failed or missing:
            why = failed[0] if failed else "no acknowledgement"
            raise Unavailable(
                "kafka", f"{len(failed) + missing} tombstones were not written: {why}"
            )


def _decoded(value: bytes) -> AnswerCached | None:
    """An entry; what cannot be read is none to any look-up either."""
    try:
        return decode_record(value, AnswerCached)
    except PoisonRecord:
        return None
