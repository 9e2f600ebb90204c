"""The log that a schema registry keeps its state in."""

from collections.abc import Sequence
from typing import Protocol

import msgspec


class LoggedRecord(msgspec.Struct, frozen=True):
    """A record of the log; without a value it takes back the key's earlier ones."""

    key: bytes
    value: bytes | None


class SchemaLog(Protocol):
    """An ordered, durable log of which the last record of each key is kept."""

    async def start(self) -> None:
        """Connect; make the log if there is none.

        Raises:
            Unavailable: It cannot be reached. Retriable.
            InvalidConfiguration: A log of that name forgets records. Not retriable.
        """
        ...

    async def append(self, record: LoggedRecord) -> None:
        """Append a record; it is durable when this returns.

        Raises:
            Unavailable: It cannot be reached, and the record may or may not be there. Retriable.
        """
        ...

    async def read_to_end(self) -> Sequence[LoggedRecord]:
        """Read what anybody has appended since the last call; the first one reads all.

        Whatever was appended before the call is in the answer.

        Raises:
            Unavailable: It cannot be reached; what was read is read again. Retriable.
        """
        ...

    async def stop(self) -> None:
        """Disconnect."""
        ...
