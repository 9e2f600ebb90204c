"""Java's class-data sharing: an archive of the broker's loaded classes halves its start.

An archive fits one Java and one class path, lives beside the jars and is made once, by running the
broker and stopping it. Java itself ignores an archive that does not fit.
"""

import hashlib
import os
import subprocess
from pathlib import Path

from services.cli.local_stack.java import Java
from services.cli.local_stack.kafka import Broker, running

_DUMP_TIMEOUT_S = 60


def archive_options(broker: Broker) -> tuple[str, ...]:
    """The options that use the archive; none where there is no archive."""
    archive = _archive(broker)
    if not archive.exists():
        return ()
    base = _base(broker)
    return (f"-XX:SharedArchiveFile={f'{base}:' if base.exists() else ''}{archive}",)


def make_archive(broker: Broker, *, log: Path) -> bool:
    """Run the broker once, on its formatted data, and keep its classes. Takes about five seconds.

    Returns:
        Whether there is an archive now. Without one everything works, only the start is slower.

    Raises:
        CommandError: The broker does not even start.
    """
    archive = _archive(broker)
    made = archive.with_name(f".{archive.name}.{os.getpid()}")
    options = (*_base_options(broker), f"-XX:ArchiveClassesAtExit={made}", "-Xlog:disable")
    with running(broker, log=log, jvm_options=options):
        pass
    if made.exists():
        made.replace(archive)
    return archive.exists()


def _base_options(broker: Broker) -> tuple[str, ...]:
    """Use Java's own archive, which the one to make builds on; make that where it is missing."""
    if any(broker.java.home.glob("lib/*/classes.jsa")):
        return ()
    base = _base(broker)
    if not base.exists():
        made = base.with_name(f".{base.name}.{os.getpid()}")
        subprocess.run(
            [broker.java.executable, "-Xshare:dump", f"-XX:SharedArchiveFile={made}"],
            check=False,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=_DUMP_TIMEOUT_S,
        )
        if made.exists():
            made.replace(base)
    return (f"-XX:SharedArchiveFile={base}",) if base.exists() else ()


def _archive(broker: Broker) -> Path:
    return broker.jars / f"broker-{java_key(broker.java)}.jsa"


def _base(broker: Broker) -> Path:
    return broker.jars / f"java-{java_key(broker.java)}.jsa"


def java_key(java: Java) -> str:
    """What an archive's name says of its Java: another build has another key."""
    built = (java.home / "lib" / "modules").stat().st_mtime_ns
    return hashlib.sha256(f"{java.home} {java.version} {built}".encode()).hexdigest()[:12]
