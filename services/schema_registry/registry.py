"""The registry as a whole: its state follows its log, and its decisions are written to it.

Reads are answered from memory. A write is decided on the log's newest state, appended, read back
and only then acknowledged; writes wait for each other.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeVar

from services.schema_registry import refusals
from services.schema_registry.decide import Deleted, LevelChanged, Packaged, Registered, seed
from services.schema_registry.log_records import (
    UnreadableRecord,
    change_from_record,
    record_from_change,
)
from services.schema_registry.refusals import Refusal
from services.schema_registry.state import RegistryState
from services.shared.codec.errors import InvalidSchema
from services.shared.domain.errors import Unavailable
from services.shared.ports.schema_log import LoggedRecord, SchemaLog

_LOG = logging.getLogger(__name__)
_RETRY_S: Final = 0.5
_FOLLOW_S: Final = 5.0

Decision = TypeVar("Decision", Registered, Deleted, LevelChanged)


class Registry:
    """State, log, and the order of writes.

    Attributes:
        state: What the log says; read it freely, it changes between awaits only.
        is_ready: Whether the log was read and holds the packaged schemas.
    """

    def __init__(
        self,
        log: SchemaLog,
        *,
        packaged: Sequence[Packaged],
        subjects: Mapping[str, str],
    ) -> None:
        """Prepare; ``run`` fills it.

        Args:
            log: Where the state is kept.
            packaged: The schemas that are served from the start.
            subjects: Subject -> the packaged record that it is about.
        """
        self.state = RegistryState()
        self.is_ready = False
        self._log = log
        self._packaged = packaged
        self._subjects = subjects
        self._writing = asyncio.Lock()

    async def run(self, stopping: asyncio.Event) -> None:
        """Connect, and follow the log until told to stop; whoever else writes to it is heard.

        Raises:
            InvalidConfiguration: The log cannot be ours.
        """
        is_told = False
        while not stopping.is_set():
            try:
                if not self.is_ready:
                    await self.open()
                else:
                    await self._catch_up()
                is_told = False
            except Unavailable as error:
                if not is_told:
                    _LOG.warning("waiting for the log", extra={"why": str(error)})
                is_told = True
            await _pause(stopping, _FOLLOW_S if self.is_ready else _RETRY_S)
        await self._log.stop()

    async def open(self) -> None:
        """Read the log and put into it what is missing of the packaged schemas.

        Raises:
            Unavailable: The log cannot be reached. Retriable.
            InvalidConfiguration: The log cannot be ours.
        """
        await self._log.start()
        async with self._writing:
            await self._read()
            for change in seed(self.state, self._packaged, self._subjects):
                await self._log.append(record_from_change(change))
            await self._read()
        self.is_ready = True
        _LOG.info("ready", extra={"subjects": len(self.state.subjects())})

    async def write(
        self, decide: Callable[[RegistryState], Decision | Refusal]
    ) -> Decision | Refusal:
        """Decide on the newest state and make the decision durable."""
        if not self.is_ready:
            return refusals.store_unavailable("the log was not read yet")
        async with self._writing:
            try:
                await self._read()
                decision = decide(self.state)
                if not isinstance(decision, Refusal):
                    for change in decision.changes:
                        await self._log.append(record_from_change(change))
                    await self._read()
            except Unavailable as error:
                return refusals.store_unavailable(str(error))
        return decision

    async def _catch_up(self) -> None:
        async with self._writing:
            await self._read()

    async def _read(self) -> None:
        for record in await self._log.read_to_end():
            self._take_in(record)

    def _take_in(self, record: LoggedRecord) -> None:
        try:
            change = change_from_record(record)
            if change is not None:
                self.state.apply(change)
        except (UnreadableRecord, InvalidSchema) as error:
            _LOG.warning("passing over a record", extra={"key": record.key, "why": str(error)})


async def _pause(stopping: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await stopping.wait()
    except TimeoutError:
        return
