"""One supervisor a data directory."""

import os
from pathlib import Path

import pytest

from services.cli.errors import CommandError
from services.cli.local_stack.lock import hold, holder
from services.cli.local_stack.state import Layout


def test_a_second_owner_is_refused_while_the_first_lives(tmp_path: Path) -> None:
    """The refusal names the process that owns the directory, and what to do."""
    layout = Layout(tmp_path / "data")
    with hold(layout):
        assert holder(layout) == os.getpid()
        with pytest.raises(CommandError, match=rf"process {os.getpid()}\).*millrace down"):
            hold(layout).__enter__()
        assert holder(layout) == os.getpid(), "a refused attempt takes nothing away"


def test_the_directory_is_free_when_its_owner_has_ended(tmp_path: Path) -> None:
    """It can be owned again, also after an owner that failed."""
    layout = Layout(tmp_path)
    with pytest.raises(ZeroDivisionError), hold(layout):
        _ = 1 / 0
    assert holder(layout) is None
    with hold(layout):
        assert holder(layout) == os.getpid()


def test_a_directory_that_never_had_an_owner_is_free(tmp_path: Path) -> None:
    """Looking at it does not make it."""
    assert holder(Layout(tmp_path / "none")) is None
    assert not (tmp_path / "none").exists()


def test_a_directory_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    """The message says why, and what to do."""
    (tmp_path / "file").touch()
    with (
        pytest.raises(CommandError, match=r"cannot be used: Not a directory.*--data"),
        hold(Layout(tmp_path / "file" / "data")),
    ):
        pytest.fail("it was owned")
