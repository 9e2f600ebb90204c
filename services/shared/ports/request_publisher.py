"""The way into the pipeline."""

from typing import Protocol

from services.shared.domain.events import InferenceRequested


class RequestPublisher(Protocol):
    """Publishes requests durably."""

    async def publish(self, request: InferenceRequested) -> None:
        """Return once the log has the request.

        Raises:
            Unavailable: The log did not confirm it in time; whether it has it is unknown.
        """
        ...
