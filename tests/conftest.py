"""What holds for every test: options, time limits, and no real provider by accident."""

import functools
import gc
import os
from collections.abc import Generator
from pathlib import Path

import hypothesis
import pytest

pytest_plugins = [
    "tests.support.encoder_files",
    "tests.support.every_core",
    "tests.support.kafka_broker",
    "tests.support.redis_server",
]

_TESTS = Path(__file__).parent
_PROCESS_TIMEOUT_S = 180
_ALLOCATIONS_A_COLLECTION = 50_000  # Python's 700 cost a twentieth of the time of all tests
_REAL_THINGS = ("kafka", "redis", "e2e", "browser")
_FOREIGN_SETTINGS = ("OPENAI_", "MILLRACE_", "OTEL_", "SCHEMA_REGISTRY_")
_KEPT_SETTINGS = (
    "MILLRACE_ENCODER",  # where this machine keeps the encoder
    "MILLRACE_MAVEN_REPOSITORY",  # where it gets Kafka from
)

hypothesis.settings.register_profile("millrace", deadline=None, print_blob=True)
hypothesis.settings.register_profile(
    "quick", parent=hypothesis.settings.get_profile("millrace"), max_examples=25
)
hypothesis.settings.load_profile("millrace")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the project's own options."""
    group = parser.getgroup("millrace")
    group.addoption(
        "--no-skips", action="store_true", help="a skipped test is a failed test (used by CI)"
    )
    group.addoption(
        "--kafka-bootstrap-servers",
        metavar="HOST:PORT",
        default="",
        help="use this running broker; otherwise tests that need one start their own",
    )
    group.addoption(
        "--faults-seed", type=int, default=0, help="repeat a run of tests/faults; 0 = any seed"
    )
    group.addoption(
        "--unchecked",
        metavar="I3,I4",
        default="",
        help="invariants that tests/faults does not hold the stack to; its table names them",
    )


def pytest_configure() -> None:
    """Forget the environment's real providers and running stacks: no test may reach them.

    And collect garbage seldom.
    """
    for name in list(os.environ):
        if name.startswith(_FOREIGN_SETTINGS) and name not in _KEPT_SETTINGS:
            del os.environ[name]
    gc.set_threshold(_ALLOCATIONS_A_COLLECTION, 20, 50)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark end-to-end tests by their folder; give tests that start processes time for it."""
    for item in items:
        folder = _folder_of(item.path)
        if folder == "e2e":
            item.add_marker(pytest.mark.e2e)
        starts_processes = folder in {"e2e", "integration"} or any(
            item.get_closest_marker(name) for name in _REAL_THINGS
        )
        starts_processes |= "encoder_files" in getattr(item, "fixturenames", ())  # it runs pip
        if starts_processes and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(_PROCESS_TIMEOUT_S))


@functools.cache
def _folder_of(path: Path) -> str:
    return path.relative_to(_TESTS).parts[0]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skip into a failure where ``--no-skips`` says so, but for a foreign tool's."""
    report = yield
    if item.get_closest_marker("may_skip") is None:
        _forbid_skip(report, item.config)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """The same for a module that skips itself."""
    report = yield
    _forbid_skip(report, collector.config)
    return report


def _forbid_skip(report: pytest.TestReport | pytest.CollectReport, config: pytest.Config) -> None:
    is_expected_failure = hasattr(report, "wasxfail")
    if report.skipped and not is_expected_failure and config.getoption("--no-skips"):
        report.outcome = "failed"
        report.longrepr = f"Skipped, which --no-skips forbids: {report.longrepr}"
