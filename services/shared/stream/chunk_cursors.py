"""Cursors in ``result-chunks``."""

from collections.abc import Sequence

from services.shared.domain.topics import Topic
from services.shared.stream.chunk_reader import open_reply_partition
from services.shared.stream.client import Log, Raw, Reader, TopicPartition

_POLL_S = 1.0
_POLL_RECORDS = 500
"""Few enough that those who read along take theirs before the next ones come."""


class KafkaChunkCursor:
    """A reader of one partition."""

    def __init__(self, reader: Reader, partition: int) -> None:
        """Use a started reader."""
        self._reader = reader
        self._where = TopicPartition(Topic.RESULT_CHUNKS, partition)

    async def seek_to_time(self, at_ms: int) -> int:
        """Go to the first record of this time or later, or to the end; returns where."""
        await self._reader.seek_to_time(self._where, at_ms)
        return await self.position()

    async def seek(self, offset: int) -> None:
        """Go to an offset."""
        await self._reader.seek(self._where, offset)

    async def position(self) -> int:
        """Offset of the next record."""
        return await self._reader.position(self._where)

    async def end(self) -> int:
        """The offset that the next record of the partition will get."""
        return (await self._reader.end_offsets())[self._where]

    async def read(self) -> Sequence[Raw]:
        """Wait for records."""
        polled = await self._reader.poll(timeout_s=_POLL_S, max_records=_POLL_RECORDS)
        return polled.get(self._where, ())

    async def close(self) -> None:
        """Disconnect."""
        await self._reader.stop()


class KafkaChunkCursors:
    """Opens readers of ``result-chunks``."""

    def __init__(self, log: Log, *, partition_count: int) -> None:
        """Use a log."""
        self._log = log
        self.partition_count = partition_count

    async def open(self, partition: int) -> KafkaChunkCursor:
        """A cursor at the end of a partition."""
        return KafkaChunkCursor(await open_reply_partition(self._log, partition), partition)
