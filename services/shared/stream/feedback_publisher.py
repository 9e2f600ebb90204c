"""Publishes feedback, acknowledged within a bounded time."""

from services.shared.domain.events import FeedbackGiven
from services.shared.domain.topics import Topic
from services.shared.stream.acknowledged import publish_acknowledged
from services.shared.stream.client import Producer


class KafkaFeedbackPublisher:
    """Publishes to the topic ``feedback``."""

    def __init__(self, producer: Producer) -> None:
        """Use a started producer."""
        self._producer = producer

    async def publish(self, feedback: FeedbackGiven) -> None:
        """Return once the log has it."""
        await publish_acknowledged(self._producer, Topic.FEEDBACK, feedback, key=feedback.tenant)
