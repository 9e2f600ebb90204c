"""How a gateway leaves."""

import asyncio

from services.gateway.leaving import end_when
from services.gateway.replies import Replies
from services.shared.domain.events import ChunkKind
from services.shared.domain.ids import RANDOM_BYTES, new_request_id
from services.shared.domain.topics import Topic
from tests.support.fake_clock import FakeClock, run_on_fake_time
from tests.support.gateways import Gateway
from tests.support.memory_log import MemoryCluster

PARTITIONS = {str(topic): 1 for topic in Topic}
WAITING = "req_" + "1" * 34


def test_whoever_waits_is_told_when_the_log_has_forgotten() -> None:
    """Not before; then answers that wait and streams that are followed end, and so does it."""

    async def scenario(clock: FakeClock) -> None:
        gateway = Gateway(MemoryCluster(clock, topics=PARTITIONS), partition=0)
        await gateway.start()
        lost = asyncio.Event()
        replies, streams = Replies(), gateway.streams
        streamed = new_request_id(
            now_ms=int(clock.now_ms()), random=bytes(RANDOM_BYTES), reply_partition=0
        )
        ending = asyncio.create_task(end_when(lost, replies, streams))
        waiters = [replies.expect(WAITING), streams.attach(streamed, after=None)]
        await asyncio.sleep(1)
        assert not ending.done()
        lost.set()
        for waiter in waiters:
            told = await waiter.next(timeout_s=1)
            assert told.kind == ChunkKind.ERROR
            assert b"server_shutting_down" in told.payload
        await ending
        await gateway.stop()

    run_on_fake_time(scenario)
