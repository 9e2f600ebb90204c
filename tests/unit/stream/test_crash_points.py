"""Dying on command, at a named place."""

from pathlib import Path

import pytest

from services.shared.domain.errors import InvalidConfiguration
from services.shared.stream.crash_points import crash_points


def test_nobody_dies_unasked() -> None:
    """Without ``CRASH_AT`` a place is passed by a function that does nothing."""
    deaths: list[int] = []
    pass_by = crash_points({}, die=lambda: deaths.append(1))
    assert pass_by is crash_points({"CRASH_ONCE": "x"}, die=lambda: deaths.append(1))
    pass_by("after_poll")
    assert deaths == []


def test_it_dies_at_the_nth_passage() -> None:
    """Other places do not count."""
    deaths: list[int] = []
    pass_by = crash_points({"CRASH_AT": "after_poll:2"}, die=lambda: deaths.append(1))
    pass_by("after_poll")
    pass_by("before_commit")
    assert deaths == []
    pass_by("after_poll")
    pass_by("after_poll")
    assert deaths == [1]


def test_it_dies_once_where_a_file_remembers_it(tmp_path: Path) -> None:
    """The process that is started next lives."""
    deaths: list[int] = []
    environ = {"CRASH_AT": "after_poll:1", "CRASH_ONCE": str(tmp_path / "died")}
    crash_points(environ, die=lambda: deaths.append(1))("after_poll")
    assert (tmp_path / "died").exists()
    crash_points(environ, die=lambda: deaths.append(2))("after_poll")
    assert deaths == [1]


@pytest.mark.parametrize("wrong", ["after_poll", "after_poll:0", ":1", "after_poll:x"])
def test_what_cannot_be_meant_is_refused(wrong: str) -> None:
    """A typo must not make a test pass because nothing died."""
    with pytest.raises(InvalidConfiguration):
        crash_points({"CRASH_AT": wrong}, die=lambda: None)
