"""The registry while its broker is killed and comes back."""

import uuid
from collections.abc import Iterator

import pytest

from services.schema_registry.decide import LevelChanged, set_level
from services.schema_registry.refusals import Refusal
from services.schema_registry.registry import Registry
from services.shared.domain.compatibility import Compatibility
from services.shared.stream.kafka_connection import KafkaConnection
from services.shared.stream.schema_log import KafkaSchemaLog
from tests.support.kafka_broker import KafkaServer, kafka_server

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(120)]


@pytest.fixture
def server() -> Iterator[KafkaServer]:
    """A broker that may be killed."""
    with kafka_server() as server:
        yield server


async def test_writes_are_refused_while_the_broker_is_away_and_work_again_after(
    server: KafkaServer,
) -> None:
    """The first answer comes in bounded time; what was acknowledged is still there."""
    log = KafkaSchemaLog(KafkaConnection(bootstrap=server.bootstrap), topic=f"s{uuid.uuid4().hex}")
    registry = Registry(log, packaged=[], subjects={})
    await registry.open()
    try:
        assert isinstance(await registry.write(lambda _: set_level("s", "FULL")), LevelChanged)
        server.kill()
        refused = await registry.write(lambda _: set_level("s", "NONE"))
        assert isinstance(refused, Refusal)
        assert refused.status == 503
        assert registry.state.own_level("s") is Compatibility.FULL
        server.start()
        answer: LevelChanged | Refusal = refused
        while isinstance(answer, Refusal):
            answer = await registry.write(lambda _: set_level("t", "NONE"))
        assert registry.state.own_level("s") is Compatibility.FULL
        assert registry.state.own_level("t") is Compatibility.NONE
    finally:
        await log.stop()
