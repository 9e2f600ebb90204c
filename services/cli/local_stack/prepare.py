"""Everything that must be there before the broker starts; most of it is made once."""

from collections.abc import Mapping
from pathlib import Path

from rich.console import Console

from services.cli.local_stack.class_archive import archive_options, make_archive
from services.cli.local_stack.kafka import Broker, format_data, is_formatted, write_settings
from services.cli.local_stack.kafka_jars import fetch_jars, jars_folder, missing_jars
from services.cli.progress import transfer


def prepare_jars(environ: Mapping[str, str], *, console: Console) -> Path:
    """Have all jars in the cache, fetching what is missing.

    Raises:
        CommandError: One could not be had. Retriable: what came stays.
    """
    folder = jars_folder(environ)
    folder.mkdir(parents=True, exist_ok=True)
    missing = missing_jars(folder)
    if missing:
        what = f"Fetching Apache Kafka ({len(missing)} files, once)"
        total_bytes = sum(jar.size_bytes for jar in missing)
        with transfer(console, what, total_bytes=total_bytes) as on_bytes:
            fetch_jars(missing, folder=folder, environ=environ, on_bytes=on_bytes)
    return folder


def prepare_broker(broker: Broker, *, log: Path, console: Console) -> tuple[str, ...]:
    """Write the broker's settings; at the first start, prepare its data and class archive too.

    Returns:
        Options of the virtual machine with which to start it.

    Raises:
        CommandError: Kafka cannot start here; says why.
    """
    write_settings(broker)
    if not is_formatted(broker):
        format_data(broker)
    if not archive_options(broker):
        console.print("Making Kafka's class archive (once; it halves later starts) ...")
        make_archive(broker, log=log)
    return archive_options(broker)
