"""Reads what stands of some requests on their reply partitions."""

from collections.abc import Mapping, Sequence
from contextlib import suppress

from services.shared.codec.records import decode_record
from services.shared.domain.errors import PoisonRecord
from services.shared.domain.events import ResultChunk
from services.shared.domain.topics import Topic
from services.shared.stream.client import Log, Raw, TopicPartition
from services.shared.stream.reading import FromTime, read_to_end

_CLOCKS_MS = 10_000
"""How far the clocks of two brokers may differ."""


class ChunkHistoryReader:
    """A ``ChunkHistory``."""

    def __init__(self, log: Log) -> None:
        """Use a log."""
        self._log = log

    async def chunks_of(
        self, requests: Mapping[str, int], *, since_ms: float
    ) -> Mapping[str, Sequence[ResultChunk]]:
        """All chunks of requests, in log order."""
        found: dict[bytes, list[ResultChunk]] = {it.encode(): [] for it in requests}

        def take(raw: Raw) -> None:
            own = found.get(raw.key or b"")
            if own is not None and raw.value is not None:
                with suppress(PoisonRecord):  # no reader sees it either
                    own.append(decode_record(raw.value, ResultChunk))

        where = {TopicPartition(Topic.RESULT_CHUNKS, number) for number in requests.values()}
        start = FromTime(since_ms - _CLOCKS_MS)
        await read_to_end(self._log, dict.fromkeys(where, start), take)
        return {key.decode(): chunks for key, chunks in found.items()}
