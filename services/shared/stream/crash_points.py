"""Places at which a process can be told to die, so that tests can see what becomes of its work.

``CRASH_AT=name:n`` kills the process, as SIGKILL does, when it passes the place of that name for
the n-th time; ``CRASH_ONCE=FILE`` only while FILE does not exist: it is made before dying, so that
the process that is started next lives.
"""

import functools
import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path

from services.shared.domain.errors import InvalidConfiguration

CrashPoint = Callable[[str], None]


def crash_points(environ: Mapping[str, str], *, die: Callable[[], None]) -> CrashPoint:
    """What is called with the name of every place that is passed.

    Args:
        environ: The environment.
        die: Ends the process.

    Raises:
        InvalidConfiguration: ``CRASH_AT`` is no name with a count.
    """
    wanted = environ.get("CRASH_AT", "")
    if not wanted:
        return _nothing
    name, _, count = wanted.partition(":")
    if not name or not count.isdecimal() or int(count) < 1:
        raise InvalidConfiguration(f"CRASH_AT={wanted!r} is not of the form name:n with n from 1")
    marker = Path(environ["CRASH_ONCE"]) if environ.get("CRASH_ONCE") else None
    left = int(count)

    def pass_by(place: str) -> None:
        nonlocal left
        if place != name:
            return
        left -= 1
        if left == 0 and not (marker is not None and marker.exists()):
            if marker is not None:
                marker.touch()
            die()

    return pass_by


def _nothing(_place: str) -> None:
    """What a process does that is to live."""


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@functools.cache
def _told() -> CrashPoint:
    # Asked late: a forked process gets its environment after its imports.
    return crash_points(os.environ, die=_die)  # noqa: TID251  # no setting: a test's


def crash_point(place: str) -> None:
    """Called with the name of a place that is passed."""
    _told()(place)


def is_armed() -> bool:
    """Whether this process is to die somewhere."""
    return _told() is not _nothing
