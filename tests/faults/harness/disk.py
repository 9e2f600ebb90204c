"""A small disk of its own for the log, which can be filled."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SIZE_MB = 320
_PIECE_BYTES = 1_048_576


def can_mount(folder: Path) -> bool:
    """Whether this user may mount a file system of its own."""
    if os.geteuid() != 0:
        return False
    try:
        with small_disk(folder):
            return True
    except (OSError, subprocess.CalledProcessError):
        return False


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """A file system in memory at a folder, for the length of a ``with`` block."""
    folder.mkdir(parents=True, exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE_MB}m", "none", str(folder)]
    subprocess.run(mount, check=True, capture_output=True)
    try:
        yield
    finally:
        unmount = ["umount", "--lazy", str(folder)]
        subprocess.run(unmount, check=True, capture_output=True)


def fill(folder: Path, *, ratio: float) -> float:
    """Write until so much of a folder's disk is used; returns the share that is.

    Args:
        folder: Somewhere on the disk.
        ratio: 0 to 1; 1 = until nothing more goes in.
    """
    filler = folder / "filler"
    with filler.open("ab", buffering=0) as file:
        try:
            while used(folder) < ratio:
                file.write(bytes(_PIECE_BYTES))
        except OSError:
            return used(folder)
    return used(folder)


def free(folder: Path) -> None:
    """Take away what was filled in."""
    (folder / "filler").unlink()


def used(folder: Path) -> float:
    """The share of a disk that is used."""
    usage = shutil.disk_usage(folder)
    return usage.used / usage.total
