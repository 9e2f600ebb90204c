"""The attempt log is read back for what a process was assigned."""

import asyncio

from services.shared.domain.topics import Topic
from services.shared.stream.attempt_log import AttemptLogReader
from services.shared.stream.client import TopicPartition
from tests.support.log_backend import LogBackend

_BATCHES = Topic.REQUEST_BATCHES_P0


async def test_a_process_without_partitions_is_ready_for_those_to_come(
    backend: LogBackend,
) -> None:
    """To prepare for nothing takes no time, and holds up nothing that comes after it."""
    await backend.make_topics({_BATCHES: 1, Topic.MODEL_CALL_ATTEMPTS: 1})
    log = AttemptLogReader(backend.connect(), clock=backend.clock, listen=lambda *_: None)
    async with asyncio.timeout(5.0):
        await log.prepare({})
        await log.prepare({TopicPartition(_BATCHES, 0): 0})
