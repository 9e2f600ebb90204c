"""The disk under a folder."""

import asyncio
import shutil
from pathlib import Path

from services.shared.domain.errors import Unavailable


def used_ratio(folder: Path) -> float:
    """The used share of a folder's disk, 0 to 1, without what the system keeps for itself.

    Raises:
        OSError: There is no such folder, or its disk does not answer.
    """
    usage = shutil.disk_usage(folder)
    usable_bytes = usage.used + usage.free
    return usage.used / usable_bytes if usable_bytes else 0.0


class DataDisk:
    """Looks in a thread: a disk on the network may take its time."""

    def __init__(self, folder: Path) -> None:
        """Look at the disk of a folder."""
        self._folder = folder

    async def used_ratio(self) -> float:
        """Its used share, 0 to 1.

        Raises:
            Unavailable: It cannot be looked at. Retriable.
        """
        try:
            return await asyncio.to_thread(used_ratio, self._folder)
        except OSError as error:
            raise Unavailable("disk", f"{self._folder}: {error.strerror}") from error
