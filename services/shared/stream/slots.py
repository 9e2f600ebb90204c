"""The place of one process among the instances of its service.

A slot is an ordinal held by a file lock: while it is held, static group membership under the
slot's name is safe. The lock file also remembers how often the process that held it died without
saying so.
"""

import fcntl
from pathlib import Path
from typing import Self

import msgspec

from services.shared.domain.errors import InvalidConfiguration


class _Life(msgspec.Struct):
    """What the lock file says.

    Attributes:
        running: A process is running, or died without cleaning up.
        started_ms: When it started, unix ms.
        crashes: Unclean exits in quick succession before it.
    """

    running: bool = False
    started_ms: float = 0.0
    crashes: int = 0


CRASH_LOOP_WINDOW_MS = 60_000
"""Unclean exits further apart than this have nothing to do with each other.

While records run one at a time every crash counts: the culprit may be the last of many.
"""

CRASHES_BEFORE_CAUTION = 3


class Slot:
    """A held slot; ``crashes`` counts the unclean exits in quick succession before this start."""

    def __init__(self, *, name: str, path: Path, now_ms: float) -> None:
        self.name = name
        self._file = path.open("a+b")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._file.close()
            raise InvalidConfiguration(
                f"slot {name} is in use by a running process ({path}); "
                "stop it or start this one with another MILLRACE_SLOT"
            ) from error
        previous = self._read()
        recent = now_ms - previous.started_ms < CRASH_LOOP_WINDOW_MS
        was_cautious = previous.crashes >= CRASHES_BEFORE_CAUTION
        is_loop = previous.running and (recent or was_cautious)
        self.crashes = previous.crashes + 1 if is_loop else int(previous.running)
        self._write(_Life(running=True, started_ms=now_ms, crashes=self.crashes))

    @classmethod
    def hold(cls, *, data: Path, service: str, ordinal: int, now_ms: float) -> Self:
        """Take a slot.

        Raises:
            InvalidConfiguration: Another live process holds it.
        """
        folder = data / "slots"
        folder.mkdir(parents=True, exist_ok=True)
        name = f"{service}-{ordinal}"
        return cls(name=name, path=folder / f"{name}.lock", now_ms=now_ms)

    @property
    def is_crash_loop(self) -> bool:
        """Whether records left uncommitted may be what kills the process."""
        return self.crashes >= CRASHES_BEFORE_CAUTION

    def calm(self, *, now_ms: float) -> None:
        """Say that what made earlier processes crash has been survived."""
        self._write(_Life(running=True, started_ms=now_ms))

    def release(self) -> None:
        """Say goodbye: the next start is a clean one."""
        self._write(_Life())
        self._file.close()

    def _read(self) -> _Life:
        self._file.seek(0)
        content = self._file.read()
        try:
            return msgspec.json.decode(content, type=_Life) if content else _Life()
        except msgspec.DecodeError:
            return _Life(running=True)  # torn by the crash itself

    def _write(self, life: _Life) -> None:
        self._file.seek(0)
        self._file.truncate()
        self._file.write(msgspec.json.encode(life))
        self._file.flush()
