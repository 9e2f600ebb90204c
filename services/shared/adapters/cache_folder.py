"""Where Millrace keeps what can be fetched or made again: the broker's jars, the encoder."""

from collections.abc import Mapping
from pathlib import Path


def cache_folder(environ: Mapping[str, str]) -> Path:
    """The user's cache folder, outside every checkout and data directory."""
    base = environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "millrace"
