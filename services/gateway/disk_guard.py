"""No new requests on a disk that is nearly full: what was accepted needs the rest of it.

A log that runs out of room loses its broker, and with it every answer that is under way.
"""

import asyncio
import logging

from prometheus_client import CollectorRegistry, Gauge

from services.shared.domain.disk import FULL_RATIO, DiskLevel, disk_level
from services.shared.domain.errors import PublicError, Unavailable
from services.shared.ports.disk import Disk

LOOK_EVERY_S = 2.0
_LOG = logging.getLogger(__name__)
DISK_FULL = PublicError(
    code="disk_full",
    message=(
        "The disk that holds the data is nearly full, so nothing new is accepted; what was "
        "accepted goes on. Try again later; whoever runs this gateway has to make room."
    ),
    retry_after_ms=10_000,
)


class DiskGuard:
    """Remembers how full the disk was at the last look."""

    def __init__(self, disk: Disk, *, registry: CollectorRegistry) -> None:
        """Guard a disk; ``look`` looks once, ``watch`` again and again."""
        self._disk = disk
        self._why_unseen = ""
        self._used = Gauge(
            "millrace_data_disk_used_ratio",
            "Used share of the disk that holds the data, 0 to 1.",
            registry=registry,
        )
        self.level = DiskLevel.OK

    @property
    def is_full(self) -> bool:
        """Whether new requests are to be refused."""
        return self.level is DiskLevel.FULL

    @property
    def why_not_ready(self) -> str:
        """Why nothing can be accepted; empty = it can."""
        return self.level.value if self.is_full else ""

    async def watch(self) -> None:
        """Look until cancelled."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            await self.look()

    async def look(self) -> None:
        """See how full it is; where it cannot be seen, what was seen last goes on to count."""
        try:
            used = await self._disk.used_ratio()
        except Unavailable as error:
            if not self._why_unseen:
                _LOG.warning("the data disk is not guarded: %s", error)
            self._why_unseen = str(error)
            return
        self._why_unseen = ""
        self._used.set(used)
        level = disk_level(used, before=self.level)
        if level is not self.level:
            _say(level, used)
        self.level = level


def _say(level: DiskLevel, used: float) -> None:
    fields = {"disk": level.value, "used_ratio": round(used, 3)}
    match level:
        case DiskLevel.OK:
            _LOG.info("the data disk has room again", extra=fields)
        case DiskLevel.FILLING:
            _LOG.warning(
                "the data disk fills: from %.0f %% on no new requests are taken",
                FULL_RATIO * 100,
                extra=fields,
            )
        case DiskLevel.FULL:
            _LOG.warning("the data disk is nearly full: new requests are refused", extra=fields)
