"""The disk under a folder."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from services.shared.adapters.data_disk import DataDisk, used_ratio
from services.shared.domain.errors import Unavailable


async def test_a_disk_is_looked_at(tmp_path: Path) -> None:
    """The used share of a real disk is a share."""
    assert 0 < await DataDisk(tmp_path).used_ratio() <= 1


@pytest.mark.parametrize(
    ("total", "used", "free", "share"), [(100, 45, 45, 0.5), (100, 95, 0, 1.0), (0, 0, 0, 0.0)]
)
def test_what_the_system_keeps_for_itself_is_no_room(
    monkeypatch: pytest.MonkeyPatch, total: int, used: int, free: int, share: float
) -> None:
    """A disk is full when its users can write nothing more."""
    usage = SimpleNamespace(total=total, used=used, free=free)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    assert used_ratio(Path("/")) == share


async def test_a_disk_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    """The error names the folder."""
    with pytest.raises(Unavailable, match="gone: No such file"):
        await DataDisk(tmp_path / "gone").used_ratio()
