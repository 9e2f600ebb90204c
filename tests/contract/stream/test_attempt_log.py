"""The attempt log is read back as far as requests go, and no farther."""

import asyncio

from services.model_caller.records import alive
from services.shared.codec.records import encode_record
from services.shared.domain.events import ModelCallAttempt
from services.shared.domain.topics import Topic
from services.shared.stream.attempt_log import RECENT_MS, AttemptLogReader
from tests.support.log_backend import LogBackend

_LOG = Topic.MODEL_CALL_ATTEMPTS
_MINUTE_MS = 60_000


class Heard:
    """An attempt log with records of given ages, and what is heard of it.

    Attributes:
        log: Its reader.
        owners: Whose records were heard, in their order.
    """

    def __init__(self, backend: LogBackend) -> None:
        """Use a cluster that has the topic."""
        self.owners: list[str] = []
        self._backend = backend
        self.log = AttemptLogReader(backend.connect(), clock=backend.clock, listen=self._hear)

    def _hear(self, record: ModelCallAttempt, offset: int, appended_ms: float) -> None:
        del offset, appended_ms
        self.owners.append(record.owner)

    @property
    def now_ms(self) -> float:
        """The time."""
        return self._backend.clock.now_ms()

    async def write(self, owner: str, *, age_ms: int = 0, partition: int = 0) -> None:
        """Write a sign of life."""
        at_ms = int(self.now_ms) - age_ms
        event = alive(owner=owner, partition=partition, now_ms=at_ms).event
        await self._backend.append(
            _LOG, encode_record(event), partition=partition, timestamp_ms=at_ms
        )


async def heard(backend: LogBackend, *, partitions: int = 1) -> Heard:
    """An empty attempt log."""
    await backend.make_topics({_LOG: partitions})
    return Heard(backend)


async def test_a_process_without_partitions_is_ready_for_those_to_come(
    backend: LogBackend,
) -> None:
    """To prepare for nothing takes no time, and holds up nothing that comes after it."""
    log = (await heard(backend)).log
    async with asyncio.timeout(5.0):
        await log.prepare([])
        await log.prepare([0])
        await log.reach({})
        await log.catch_up([])


async def test_at_an_assignment_only_the_last_seconds_are_read(backend: LogBackend) -> None:
    """And all of them, once; what is written later is read on demand."""
    it = await heard(backend)
    await it.write("old", age_ms=RECENT_MS + _MINUTE_MS)
    await it.write("new", age_ms=RECENT_MS // 2)
    await it.log.prepare([0])
    assert it.owners == ["new"]
    await it.write("newer")
    await it.log.catch_up([0])
    await it.log.catch_up([0])
    assert it.owners == ["new", "newer"]
    await it.write("newest")
    await it.log.prepare([0])
    assert it.owners == ["new", "newer", "newest"]


async def test_it_reaches_back_to_where_a_request_was_accepted(backend: LogBackend) -> None:
    """However old it is; nothing is read twice, and nothing between is missed."""
    it = await heard(backend, partitions=2)
    for minutes in (5, 4, 3, 2):
        await it.write(f"{minutes}", age_ms=minutes * _MINUTE_MS)
    await it.write("other", age_ms=5 * _MINUTE_MS, partition=1)
    await it.write("now")
    await it.log.prepare([0, 1])
    now_ms = it.now_ms
    await it.log.reach({0: now_ms})
    assert it.owners == ["now"]
    await it.log.reach({0: now_ms - 2.5 * _MINUTE_MS})
    assert it.owners == ["now", "2"]
    await it.log.reach({0: now_ms - 4.5 * _MINUTE_MS, 1: now_ms})
    await it.log.reach({0: now_ms - 2.5 * _MINUTE_MS})
    assert it.owners == ["now", "2", "4", "3"]
    await it.write("later")
    await it.log.catch_up([0])
    assert it.owners == ["now", "2", "4", "3", "later"]


async def test_it_reaches_where_nothing_was_prepared(backend: LogBackend) -> None:
    """A partition of which nothing is known is read from there to its end."""
    it = await heard(backend)
    await it.write("before", age_ms=2 * _MINUTE_MS)
    await it.write("after")
    await it.log.reach({0: it.now_ms - _MINUTE_MS})
    assert it.owners == ["after"]


async def test_those_who_prepare_at_once_read_together(backend: LogBackend) -> None:
    """All topics of a process are assigned at the same time: each record is heard once."""
    it = await heard(backend, partitions=2)
    await it.write("zero")
    await it.write("one", partition=1)
    await asyncio.gather(*(it.log.prepare([0, 1]) for _ in range(6)))
    assert sorted(it.owners) == ["one", "zero"]
