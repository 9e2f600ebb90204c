"""The test suite's own options do what they say."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.project import ROOT

_SKIPS = """
import pytest

def test_runs():
    assert True

@pytest.mark.skip(reason="cannot run here")
def test_is_skipped():
    assert False

@pytest.mark.may_skip
def test_is_skipped_for_want_of_a_tool():
    pytest.skip("there is no such tool here")

@pytest.mark.xfail(reason="known", strict=True)
def test_is_expected_to_fail():
    assert False
"""
_MODULE_SKIPS = """
import pytest

pytest.skip("nothing here runs", allow_module_level=True)
"""


def _pytest(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run a folder of tests under this project's configuration and ``conftest.py``."""
    configured = ("-c", str(ROOT / "pyproject.toml"), "-p", "no:cacheprovider")
    return subprocess.run(
        [sys.executable, "-m", "pytest", *configured, *options, str(folder)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.slow  # starts pytest twice
@pytest.mark.timeout(60)
def test_no_skips_makes_a_skip_a_failure(tmp_path: Path) -> None:
    """A skip passes by default and fails under ``--no-skips``, but where a foreign tool is missing.

    An expected failure is no skip.
    """
    (tmp_path / "conftest.py").write_text((ROOT / "tests" / "conftest.py").read_text())
    (tmp_path / "test_one_by_one.py").write_text(_SKIPS)
    (tmp_path / "test_whole_module.py").write_text(_MODULE_SKIPS)

    lenient = _pytest(tmp_path)
    strict = _pytest(tmp_path, "--no-skips", "--continue-on-collection-errors")

    assert "1 passed, 3 skipped, 1 xfailed" in lenient.stdout
    assert lenient.returncode == 0
    assert "1 passed, 1 skipped, 1 xfailed, 2 errors" in strict.stdout
    assert strict.returncode == 1
    assert "Skipped, which --no-skips forbids" in strict.stdout
