"""How full the disks are that the stack writes to."""

import shutil
from collections.abc import Mapping
from pathlib import Path

import msgspec

from services.cli.local_stack.findings import Finding, Level
from services.cli.local_stack.state import Layout
from services.shared.adapters.cache_folder import cache_folder
from services.shared.adapters.data_disk import used_ratio
from services.shared.domain.disk import FULL_RATIO, DiskLevel, disk_level

NEEDED_DISK_BYTES = 500_000_000
AMPLE_DISK_BYTES = 2_000_000_000


def data_disk(layout: Layout) -> Finding:
    """How full the disk is that the stack writes to."""
    room = _room("Data disk", layout.root)
    match disk_level(used_ratio(_existing(layout.root))):
        case DiskLevel.FULL:
            return msgspec.structs.replace(
                room,
                level=Level.BAD,
                remedy=f"Make room: from {FULL_RATIO:.0%} on the gateway refuses new requests.",
            )
        case DiskLevel.FILLING if room.level is Level.GOOD:
            return msgspec.structs.replace(
                room,
                level=Level.NOTE,
                remedy=f"Make room before it is {FULL_RATIO:.0%}: then requests are refused.",
            )
    return room


def cache_disk(environ: Mapping[str, str]) -> Finding:
    """Whether there is room for what is fetched once."""
    return _room("Cache disk", cache_folder(environ))


def _room(subject: str, folder: Path) -> Finding:
    there = _existing(folder)
    free_bytes = shutil.disk_usage(there).free
    level = Level.GOOD if free_bytes >= AMPLE_DISK_BYTES else Level.NOTE
    return Finding(
        level=level if free_bytes >= NEEDED_DISK_BYTES else Level.BAD,
        subject=subject,
        text=f"{used_ratio(there):.0%} used, {free_bytes / 1e9:.1f} GB free at {folder}",
        remedy="" if level is Level.GOOD else "Make room: Kafka keeps a week of records.",
    )


def _existing(folder: Path) -> Path:
    return next(path for path in (folder, *folder.parents) if path.exists())
