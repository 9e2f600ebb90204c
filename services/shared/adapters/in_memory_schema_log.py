"""A schema log in memory, for tests and for a registry whose schemas need not last."""

from collections.abc import Sequence

from services.shared.domain.errors import Unavailable
from services.shared.ports.schema_log import LoggedRecord


class InMemorySchemaLog:
    """A ``SchemaLog`` over a list that several logs may share.

    Attributes:
        is_reachable: Set it to False to make every call fail.
    """

    def __init__(self, records: list[LoggedRecord] | None = None) -> None:
        """Begin at the start of the list; a new one when none is given."""
        self.is_reachable = True
        self._records = records if records is not None else []
        self._position = 0

    async def start(self) -> None:
        """Do nothing."""
        self._check()

    async def append(self, record: LoggedRecord) -> None:
        """Append to the list."""
        self._check()
        self._records.append(record)

    async def read_to_end(self) -> Sequence[LoggedRecord]:
        """Return the rest of the list."""
        self._check()
        news = self._records[self._position :]
        self._position = len(self._records)
        return news

    async def stop(self) -> None:
        """Do nothing."""

    def _check(self) -> None:
        if not self.is_reachable:
            raise Unavailable("the schema log", "it was switched off")
