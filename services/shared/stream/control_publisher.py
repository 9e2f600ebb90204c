"""Publishes what is wanted of running requests, acknowledged within a bounded time."""

from services.shared.domain.events import ControlRequested
from services.shared.domain.topics import Topic
from services.shared.stream.acknowledged import publish_acknowledged
from services.shared.stream.client import Producer


class KafkaControlPublisher:
    """Publishes to the topic ``control``."""

    def __init__(self, producer: Producer) -> None:
        """Use a started producer."""
        self._producer = producer

    async def publish(self, control: ControlRequested) -> None:
        """Return once the log has it."""
        await publish_acknowledged(self._producer, Topic.CONTROL, control, key=control.request_id)
