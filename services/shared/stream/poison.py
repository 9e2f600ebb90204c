"""Dead letters: the original bytes with Spring's header names, and when to stop making them."""

import asyncio
import logging
import struct
from collections import deque
from collections.abc import Sequence

from services.shared.codec.headers import Headers
from services.shared.domain import dead_letters as names
from services.shared.domain.emit import Emit
from services.shared.domain.errors import MustStop, PoisonRecord
from services.shared.domain.topics import Topic
from services.shared.stream.client import Raw
from services.shared.stream.outbox import Outbox
from services.shared.stream.source import Source
from services.shared.stream.subjects import Subject, emits_for_poison
from services.shared.telemetry.metrics import StageMetrics

_LOG = logging.getLogger(__name__)
_STUCK_S = 5.0
MAX_CONSECUTIVE = 50
WINDOW_RECORDS = 1000
MAX_RATIO = 0.01
_MESSAGE_CHARS = 500


def dead_letter_headers(raw: Raw, poison: PoisonRecord, *, group: str) -> Headers:
    """Where a dead letter came from and why.

    Numbers are big-endian, as Spring's ``DeadLetterPublishingRecoverer`` writes them.
    """
    timestamp_type = b"LogAppendTime" if raw.timestamp_type else b"CreateTime"
    message = poison.detail[:_MESSAGE_CHARS].encode(errors="backslashreplace")
    return [
        (names.ORIGINAL_TOPIC, raw.topic.encode()),
        (names.ORIGINAL_PARTITION, struct.pack(">i", raw.partition)),
        (names.ORIGINAL_OFFSET, struct.pack(">q", raw.offset)),
        (names.ORIGINAL_TIMESTAMP, struct.pack(">q", raw.timestamp)),
        (names.ORIGINAL_TIMESTAMP_TYPE, timestamp_type),
        (names.ORIGINAL_GROUP, group.encode()),
        (names.EXCEPTION, f"{names.EXCEPTION_PREFIX}{poison.reason}".encode()),
        (names.MESSAGE, message),
    ]


class DeadLetters:
    """Gives up the records of one loop."""

    def __init__(self, *, source: Source, outbox: Outbox, metrics: StageMetrics) -> None:
        """Write through an outbox."""
        self._source = source
        self._outbox = outbox
        self._metrics = metrics
        self._open = 0
        self._none_open = asyncio.Event()
        self._moved_at_s = 0.0

    @property
    def are_open(self) -> bool:
        """Whether a dead letter is being written."""
        return self._open > 0

    @property
    def are_stuck(self) -> bool:
        """Whether dead letters are being written and none has become durable for some seconds."""
        return self._open > 0 and self._outbox.clock.monotonic_s() - self._moved_at_s > _STUCK_S

    async def none_open(self) -> None:
        """Return once every dead letter is durable."""
        while self._open:
            self._none_open.clear()
            await self._none_open.wait()

    async def bury(self, raw: Raw, poison: PoisonRecord, subjects: Sequence[Subject]) -> None:
        """Write the dead letter, then how its requests end; returns when both are durable.

        Raises:
            MustStop: This process may not write any more.
        """
        if not self._open:
            self._moved_at_s = self._outbox.clock.monotonic_s()
        self._open += 1
        try:
            await self._bury(raw, poison, subjects)
        finally:
            self._open -= 1
            self._moved_at_s = self._outbox.clock.monotonic_s()
            if not self._open:
                self._none_open.set()

    async def _bury(self, raw: Raw, poison: PoisonRecord, subjects: Sequence[Subject]) -> None:
        place = {"topic": raw.topic, "partition": raw.partition, "offset": raw.offset}
        self._metrics.poison(self._source.topic, poison.reason)
        _LOG.error("poison record", extra={**place, "reason": poison.reason})
        ours = dead_letter_headers(raw, poison, group=self._source.group)
        theirs: Headers = [(name, content or b"") for name, content in raw.headers]
        try:
            await self._write(raw, raw.value, theirs + ours)
        except PoisonRecord:  # it was compressed when it came and is too large as it is
            size_bytes = len(raw.value or b"")
            _LOG.exception("a dead letter without its value", extra={**place, "bytes": size_bytes})
            await self._write(raw, b"", [*ours, (names.OMITTED, b"%d" % size_bytes)])
        reply_partitions = self._outbox.partition_count(Topic.RESULT_CHUNKS)
        now_ms = self._outbox.clock.now_ms()
        for subject in subjects:
            for emit in emits_for_poison(subject, now_ms=now_ms, reply_partitions=reply_partitions):
                await self._tell(emit)

    async def _tell(self, emit: Emit) -> None:
        try:
            await self._outbox.send_and_wait(emit)
        except PoisonRecord as poison:  # a forged record may make its end too large as well
            _LOG.error("an end that cannot be told", extra={"why": poison.detail})

    async def _write(self, raw: Raw, value: bytes | None, headers: Headers) -> None:
        partitions = self._outbox.partition_count(self._source.dlq)
        await self._outbox.send_raw_and_wait(
            self._source.dlq,
            partition=raw.partition % partitions,
            key=raw.key,
            value=value,
            headers=headers,
        )


class PoisonLimit:
    """Stops a service that would drain an internal topic into its dead letters."""

    def __init__(self, *, topic: str) -> None:
        """Start with a clean record."""
        self._topic = topic
        self._consecutive = 0
        self._recent: deque[bool] = deque(maxlen=WINDOW_RECORDS)
        self._poison_in_window = 0

    def good(self) -> None:
        """A record was fine."""
        self._consecutive = 0
        self._note(is_poison=False)

    def poison(self) -> None:
        """A record was poison.

        Raises:
            MustStop: Too many were: the fault is more likely in us than in the records.
        """
        self._consecutive += 1
        self._note(is_poison=True)
        window_full = len(self._recent) == WINDOW_RECORDS
        if self._consecutive > MAX_CONSECUTIVE or (
            window_full and self._poison_in_window > WINDOW_RECORDS * MAX_RATIO
        ):
            raise MustStop(
                f"{self._topic}: {self._consecutive} poison records in a row, "
                f"{self._poison_in_window} of the last {len(self._recent)}; look at "
                f"{self._topic}-dlq before starting again"
            )

    def _note(self, *, is_poison: bool) -> None:
        if len(self._recent) == WINDOW_RECORDS:
            self._poison_in_window -= self._recent[0]
        self._recent.append(is_poison)
        self._poison_in_window += is_poison
