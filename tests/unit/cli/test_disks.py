"""How full the disks are, and what is said of it."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from services.cli.local_stack.disks import data_disk
from services.cli.local_stack.findings import Level
from services.cli.local_stack.state import Layout

GB = 1_000_000_000


@pytest.mark.parametrize(
    ("gigabytes", "level", "text", "remedy"),
    [
        ((10, 90), Level.GOOD, "10% used, 90.0 GB free", ""),
        ((85, 15), Level.NOTE, "85% used, 15.0 GB free", "Make room before it is 90%"),
        ((93, 7), Level.BAD, "93% used, 7.0 GB free", "from 90% on the gateway refuses"),
        ((1, 1), Level.NOTE, "50% used, 1.0 GB free", "Kafka keeps a week"),
        ((0.8, 0.2), Level.BAD, "80% used, 0.2 GB free", "Kafka keeps a week"),
    ],
)
def test_the_data_disk(  # noqa: PLR0917  # a table
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    gigabytes: tuple[float, float],
    level: Level,
    text: str,
    remedy: str,
) -> None:
    """It says how full the disk is, and what that means for requests."""
    used, free = (int(part * GB) for part in gigabytes)
    usage = SimpleNamespace(total=used + free, used=used, free=free)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    found = data_disk(Layout(tmp_path / "not" / "yet"))
    assert (found.level, found.subject) == (level, "Data disk")
    assert text in found.text
    assert remedy in found.remedy
    assert bool(found.remedy) is bool(remedy)
