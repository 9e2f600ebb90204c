"""A disk that is as full as a test says."""

from prometheus_client import CollectorRegistry

from services.gateway.disk_guard import DiskGuard
from services.shared.domain.errors import Unavailable


class FakeDisk:
    """A disk.

    Attributes:
        ratio: Its used share.
        is_away: Whether it cannot be looked at.
    """

    def __init__(self, ratio: float) -> None:
        """Be so full."""
        self.ratio = ratio
        self.is_away = False

    async def used_ratio(self) -> float:
        """Its used share."""
        if self.is_away:
            raise Unavailable("disk", "the test says so")
        return self.ratio


def guard_of(disk: FakeDisk, registry: CollectorRegistry | None = None) -> DiskGuard:
    """A guard that has not looked yet."""
    return DiskGuard(disk, registry=registry or CollectorRegistry())
