"""The way to tell the pipeline what is wanted of a running request."""

from typing import Protocol

from services.shared.domain.events import ControlRequested


class ControlPublisher(Protocol):
    """Publishes control records durably."""

    async def publish(self, control: ControlRequested) -> None:
        """Return once the log has it.

        Raises:
            Unavailable: The log did not confirm it in time; whether it has it is unknown.
        """
        ...
