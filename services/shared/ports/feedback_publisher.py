"""The way to tell how good an answer was."""

from typing import Protocol

from services.shared.domain.events import FeedbackGiven


class FeedbackPublisher(Protocol):
    """Publishes feedback durably."""

    async def publish(self, feedback: FeedbackGiven) -> None:
        """Return once the log has it.

        Raises:
            Unavailable: The log did not confirm it in time; whether it has it is unknown.
        """
        ...
