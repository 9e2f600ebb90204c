"""What the figures were measured on."""

import os
import platform
import subprocess
from pathlib import Path

import msgspec
import psutil

from services.cli.errors import CommandError
from services.cli.local_stack.java import find_java
from services.cli.local_stack.plan import checkout


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """Facts that a figure means little without.

    Attributes:
        cores: Cores that this process may use.
        processor: Their kind.
        memory_bytes: Memory of the machine.
        system: Operating system.
        python: Version of Python.
        java: Version of Java that runs the broker.
        commit: What is measured; ``+`` = with changes that are not committed.
        load_average: Of the last minute, before the benchmark began: others' work.
    """

    cores: int
    processor: str
    memory_bytes: int
    system: str
    python: str
    java: str
    commit: str
    load_average: float


def facts() -> Machine:
    """Look at this machine."""
    return Machine(
        cores=_cores(),
        processor=_processor(),
        memory_bytes=psutil.virtual_memory().total,
        system=f"{platform.system()} {platform.release()}",
        python=f"{platform.python_implementation()} {platform.python_version()}",
        java=_java(),
        commit=_commit(),
        load_average=psutil.getloadavg()[0],
    )


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _java() -> str:
    try:
        java = find_java(os.environ)
    except CommandError:
        return "none"
    return f"{java.version} ({java.source})"


def _commit() -> str:
    try:
        commit = _git("rev-parse", "--short", "HEAD")
        return f"{commit}+" if _git("status", "--porcelain", "--untracked-files=no") else commit
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def _git(*arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments],  # noqa: S607  # the user's git
        cwd=checkout(),
        capture_output=True,
        text=True,
        check=True,
        timeout=10,
    )
    return done.stdout.strip()
