"""Finding the record that kills its process.

After a crash loop the records left uncommitted run one at a time. Before each one is taken, the
topic ``crash-suspects`` says that it is alone; a process that finds itself there after another
crash knows the culprit, and the third time makes it poison.
"""

import asyncio
from collections.abc import Mapping

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
    """Records of one service that were alone at a crash.

    Attributes:
        turn: Held while a record runs alone, so that it really is alone in its process.
    """

    def __init__(self, *, service: str, outbox: Outbox, crashes: Mapping[Place, int]) -> None:
        self._service = service
        self._outbox = outbox
        self._crashes = dict(crashes)
        self.turn = asyncio.Lock()

    def is_guilty(self, place: Place) -> bool:
        """Whether a record was alone at as many crashes as make it poison."""
        return self._crashes.get(place, 0) >= CRASHES_TO_POISON

    async def accuse(self, place: Place) -> None:
        """Note durably that a record runs alone from now on."""
        topic, partition, offset = place
        crashes = self._crashes.get(place, 0) + 1
        await self._write(
            place,
            encode_record(
                CrashSuspected(
                    topic=topic,
                    partition=partition,
                    offset=offset,
                    group=self._service,
                    crashes=crashes,
                )
            ),
        )

    async def acquit(self, place: Place) -> None:
        """Note that the process survived a record, or has buried it."""
        self._crashes.pop(place, None)
        await self._write(place, None)

    async def _write(self, place: Place, value: bytes | None) -> None:
        acknowledged = asyncio.Event()
        await self._outbox.send_raw(
            Topic.CRASH_SUSPECTS,
            partition=0,
            key=_key(self._service, place).encode(),
            value=value,
            headers=(),
            on_acknowledged=acknowledged.set,
        )
        await acknowledged.wait()


async def read_suspects(log: Log, *, service: str) -> dict[Place, int]:
    """Read which records of a service were alone at a crash, and how often.

    Raises:
        Unavailable: No broker answers. Retriable.
    """
    partition = TopicPartition(Topic.CRASH_SUSPECTS, 0)
    reader = log.reader()
    await reader.start([partition])
    crashes: dict[Place, int] = {}
    try:
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
    key = (raw.key or b"").decode()
    if raw.value is not None:
        suspected = decode_record(raw.value, CrashSuspected)
        if suspected.group == service:
            place = (suspected.topic, suspected.partition, suspected.offset)
            crashes[place] = suspected.crashes
        return
    for place in list(crashes):
        if key == _key(service, place):
            del crashes[place]


def _key(service: str, place: Place) -> str:
    return "-".join((service, *map(str, place)))
