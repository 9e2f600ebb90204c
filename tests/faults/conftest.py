"""Stacks to be harmed, one at a time, and the table at the end."""

import random
from collections.abc import Iterator

import pytest

from tests.faults.harness.report import FOLDER, Row, table, write_report
from tests.faults.harness.rig import Rig, Rigs
from tests.faults.harness.scene import Options
from tests.support.project import ROOT

_TIMEOUT_S = 300
_ROWS = pytest.StashKey[list[Row]]()


def pytest_configure(config: pytest.Config) -> None:
    """Start the table."""
    config.stash[_ROWS] = []


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is below this folder, and give it time."""
    for item in items:
        if "tests/faults/" in item.path.as_posix():
            item.add_marker(pytest.mark.faults)
            if not item.get_closest_marker("timeout"):
                item.add_marker(pytest.mark.timeout(_TIMEOUT_S))


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Show the table and write it down."""
    rows = config.stash[_ROWS]
    if rows:
        path = ROOT / FOLDER / "faults.json"
        write_report(path, rows)
        terminalreporter.section("faults")
        terminalreporter.write_line(table(rows))
        terminalreporter.write_line(f"({path.relative_to(ROOT)})")


@pytest.fixture
def rows(request: pytest.FixtureRequest) -> list[Row]:
    """The table so far."""
    return request.config.stash[_ROWS]


@pytest.fixture
def options(request: pytest.FixtureRequest) -> Options:
    """What this run was told."""
    given: str = request.config.getoption("--unchecked")
    seed: int = request.config.getoption("--faults-seed") or random.SystemRandom().randrange(10**6)
    return Options(seed=seed, unchecked=tuple(filter(None, given.split(","))))


@pytest.fixture(scope="session")
def rigs() -> Iterator[Rigs]:
    """Stacks, one after the other."""
    rigs = Rigs()
    yield rigs
    rigs.close()


@pytest.fixture
def rig(rigs: Rigs) -> Rig:
    """A stack that works."""
    return rigs.get()
