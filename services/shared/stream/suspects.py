"""Finding the record that kills its process.

After a crash loop the records left uncommitted run one at a time. Before each one is taken, the
topic ``crash-suspects`` says that it is alone; a process that finds itself there after another
crash knows the culprit, and the third time makes it poison.
"""

import asyncio
from collections.abc import Callable, Mapping

from services.shared.codec.records import decode_record, encode_record
from services.shared.domain.events import CrashSuspected
from services.shared.domain.topics import Topic
from services.shared.stream.client import Log, Raw, TopicPartition
from services.shared.stream.outbox import Outbox

CRASHES_TO_POISON = 3
_READ_S = 1.0
_READ_RECORDS = 1000

Place = tuple[str, int, int]
"""Topic, partition and offset of a record."""


class Suspects:
    """Records of one service that were alone at a crash."""

    def __init__(self, *, service: str, outbox: Outbox, crashes: Mapping[Place, int]) -> None:
        """Go on with what ``read_suspects`` found."""
        self._service = service
        self._outbox = outbox
        self._crashes = dict(crashes)

    def crashes(self, place: Place) -> int:
        """How often a record was alone at a crash."""
        return self._crashes.get(place, 0)

    async def accuse(self, place: Place) -> None:
        """Note durably that a record runs alone from now on."""
        topic, partition, offset = place
        accusation = CrashSuspected(
            topic=topic,
            partition=partition,
            offset=offset,
            group=self._service,
            crashes=self.crashes(place) + 1,
        )
        await self._write(place, encode_record(accusation))

    async def acquit(self, place: Place) -> None:
        """Note that the process survived a record, or has buried it."""
        self._crashes.pop(place, None)
        await self._write(place, None)

    async def _write(self, place: Place, value: bytes | None) -> None:
        await self._outbox.send_raw_and_wait(
            Topic.CRASH_SUSPECTS,
            partition=0,
            key=_key(self._service, place).encode(),
            value=value,
            headers=[],
        )


class Caution:
    """The time after a crash loop in which records run one at a time in the whole process.

    Attributes:
        suspects: What is known of crashes.
        turn: Held by the loop whose record runs.
        is_over: Set once all records that were left uncommitted have been survived.
    """

    def __init__(self, suspects: Suspects, *, on_over: Callable[[], None]) -> None:
        """Begin; ``on_over`` is called at the end."""
        self.suspects = suspects
        self.turn = asyncio.Lock()
        self.is_over = asyncio.Event()
        self._on_over = on_over
        self._left: dict[TopicPartition, int] = {}

    def watch(self, backlog: Mapping[TopicPartition, int]) -> None:
        """These partitions have uncommitted records before these offsets."""
        if not self.is_over.is_set():
            self._left.update(backlog)

    def passed(self, partition: TopicPartition, position: int) -> None:
        """A partition's records before ``position`` have been survived."""
        if position >= self._left.get(partition, 0):
            self._left.pop(partition, None)

    def forget(self, topic: str) -> None:
        """Another process has the partitions of a topic now, and their records."""
        for partition in [partition for partition in self._left if partition.topic == topic]:
            del self._left[partition]

    def concerns(self, topic: str) -> bool:
        """Whether a topic has such records left."""
        return any(partition.topic == topic for partition in self._left)

    def end_if_survived(self) -> None:
        """End when nothing is left."""
        if not self._left and not self.is_over.is_set():
            self.is_over.set()
            self._on_over()


async def read_suspects(log: Log, *, service: str) -> dict[Place, int]:
    """Read which records of a service were alone at a crash, and how often.

    Raises:
        Unavailable: No broker answers. Retriable.
    """
    partition = TopicPartition(Topic.CRASH_SUSPECTS, 0)
    reader = log.reader()
    crashes: dict[Place, int] = {}
    try:
        await reader.start([partition])
        end = (await reader.end_offsets())[partition]
        await reader.seek_to_time(partition, 0)
        while await reader.position(partition) < end:
            for raws in (await reader.poll(timeout_s=_READ_S, max_records=_READ_RECORDS)).values():
                for raw in raws:
                    _fold(crashes, raw, service)
    finally:
        await reader.stop()
    return crashes


def _fold(crashes: dict[Place, int], raw: Raw, service: str) -> None:
    if raw.value is not None:
        suspected = decode_record(raw.value, CrashSuspected)
        if suspected.group == service:
            place = (suspected.topic, suspected.partition, suspected.offset)
            crashes[place] = suspected.crashes
        return
    for place in [place for place in crashes if raw.key == _key(service, place).encode()]:
        del crashes[place]


def _key(service: str, place: Place) -> str:
    return "-".join((service, *map(str, place)))
