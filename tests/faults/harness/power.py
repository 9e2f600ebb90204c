"""Power that is lost: the log lies on a file system of its own, whose unwritten bytes can be taken.

The file system is ext4 in a file. Told to go down without a last flush, it keeps what the kernel
had written back or was made to write (fsync), and forgets everything else, as a machine does whose
power is cut. The rest of the machine goes on, so its disk's own cache loses nothing here.
"""

import contextlib
import fcntl
import os
import signal
import struct
import subprocess
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import psutil

from services.cli.local_stack.state import Layout
from tests.faults.harness.rig import Rig, eventually

SIZE_MB = 1_024
_GO_DOWN = 0x8004587D
"""``EXT4_IOC_SHUTDOWN``."""

_WITHOUT_A_FLUSH = 2
_WITNESS = "not-yet-written-back"


class Loss(msgspec.Struct, frozen=True, kw_only=True):
    """What was there before the power went and was not afterwards.

    Attributes:
        lost_bytes: Of log segments, by topic; topics that lost nothing are left out.
        kept_bytes: Of log segments, in all.
        has_lost_witness: Whether a file that nobody forced to disk lost its content.
        at_s: When the power went, unix seconds.
    """

    lost_bytes: dict[str, int]
    kept_bytes: int
    has_lost_witness: bool
    at_s: float

    def __str__(self) -> str:
        """Render for people."""
        lost = sum(self.lost_bytes.values())
        witness = "lost" if self.has_lost_witness else "kept"
        return f"{lost:,} bytes of the log lost, {self.kept_bytes:,} kept; witness {witness}"


def can_lose_power(folder: Path) -> bool:
    """Whether this user may make and mount a file system that can be cut off."""
    if os.geteuid() != 0:
        return False
    try:
        with lossy_disk(folder):
            _cut(Layout(folder).kafka)
            return True
    except (OSError, subprocess.CalledProcessError):
        return False


@contextmanager
def lossy_disk(data: Path) -> Iterator[None]:
    """A file system for the broker's folder of a data directory, for the length of a block."""
    kafka, image = Layout(data).kafka, _image(data)
    kafka.mkdir(parents=True, exist_ok=True)
    with image.open("wb") as file:
        file.truncate(SIZE_MB * 1_048_576)
    try:
        _run("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0", str(image))
        _mount(data)
        try:
            yield
        finally:
            _run("umount", "--lazy", str(kafka))
    finally:
        image.unlink()


async def lose_power(rig: Rig, *, also: Collection[str] = ()) -> Loss:
    """Take what was not on the disk yet, kill the broker, and have all of them start again.

    Args:
        rig: Its stack lies on a ``lossy_disk``.
        also: Processes that were on the same machine.
    """
    kafka = Layout(rig.stack.data).kafka
    with rig.unsupervised():
        pids = {name: rig.pid(name) for name in ("kafka", *also)}
        witness = kafka / _WITNESS
        witness.write_text("young")
        before = _segments(kafka)
        _cut(kafka)
        at_s = time.time()
        for pid in pids.values():
            os.kill(pid, signal.SIGKILL)
        await eventually(lambda: all(map(_is_dead, pids.values())) and _is_unmounted(kafka))
        _mount(rig.stack.data)
        after = _segments(kafka)
        loss = Loss(
            lost_bytes=_lost(before, after),
            kept_bytes=sum(after.values()),
            has_lost_witness=not (witness.exists() and witness.read_text()),
            at_s=at_s,
        )
        witness.unlink(missing_ok=True)
    for name, pid in pids.items():
        await eventually(lambda name=name, pid=pid: rig.stack.is_replaced(name, pid=pid))  # type: ignore[misc]
    return loss


def _lost(before: dict[str, int], after: dict[str, int]) -> dict[str, int]:
    lost: dict[str, int] = {}
    for name, size in before.items():
        topic = name.split("/")[0].rpartition("-")[0]
        lost[topic] = lost.get(topic, 0) + max(0, size - after.get(name, 0))
    return {topic: size for topic, size in sorted(lost.items()) if size}


def _segments(kafka: Path) -> dict[str, int]:
    """Bytes of each log segment, by partition's folder and file."""
    found = {}
    for path in (kafka / "data").glob("*/*.log"):
        with contextlib.suppress(FileNotFoundError):
            found["/".join(path.parts[-2:])] = path.stat().st_size
    return found


def _cut(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.ioctl(handle, _GO_DOWN, struct.pack("I", _WITHOUT_A_FLUSH))
    finally:
        os.close(handle)


def _image(data: Path) -> Path:
    return data.parent / "disk.img"


def _mount(data: Path) -> None:
    _run("mount", "-o", "loop", str(_image(data)), str(Layout(data).kafka))


def _is_dead(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def _is_unmounted(folder: Path) -> bool:
    """Whether it could be taken away; threads of a killed process may outlive its first one."""
    try:
        _run("umount", str(folder))
    except subprocess.CalledProcessError:
        return False
    return True


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
