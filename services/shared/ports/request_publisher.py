"""The way into the pipeline."""

from typing import Protocol

from services.shared.domain.events import InferenceRequested


class RequestPublisher(Protocol):
    """Publishes requests durably."""

    async def publish(self, request: InferenceRequested, *, is_retry: bool = False) -> None:
        """Return once the log has the request.

        Args:
            request: The request.
            is_retry: Its client asks again for what it gave up waiting for.

        Raises:
            Unavailable: The log did not confirm it in time; whether it has it is unknown.
        """
        ...
