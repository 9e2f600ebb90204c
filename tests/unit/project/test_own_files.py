"""The project's files keep the project's rules: locked, self-contained, documented, consistent."""

import ast
import os
import re
import tokenize
from pathlib import Path

import pytest

from tests.support.project import ROOT, project_files, read_pyproject, read_yaml, run_tool

_VERSION = read_pyproject()["project"]["version"]
_MODULES = sorted(
    path
    for folder in ("services", "tests", "scripts", "deploy", "examples")
    for path in (ROOT / folder).rglob("*.py")
)
_PINNED_ACTION = re.compile(r"[\w.-]+/[\w./-]+@[0-9a-f]{40}")

# Written in pieces, so that this file is none of those it looks for.
_REGISTRIES = (
    "pypi" + ".org",
    "python" + "hosted",
    "npm" + "js.",
    "docker" + ".io",
    "ghcr" + ".io",
)
_MACHINE_PATH = re.compile(
    r"(?<![\w.$}])/(?:" + "|".join(("root", "home", "Users", "work", "mnt")) + r")/[\w.]"
)


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-image.lock"])
def test_every_locked_package_has_a_hash_and_no_address(name: str) -> None:
    """Each requirement is one version with hashes; none comes from a URL, a path or an index."""
    lock = (ROOT / name).read_text()
    lines = [line for line in lock.splitlines() if line and not line.lstrip().startswith("#")]
    pins = [line for line in lines if not line.startswith(" ")]
    requirements = re.split(r"\n(?=[a-z0-9])", "\n".join(lines))
    assert pins
    assert [pin for pin in pins if not re.match(r"[a-z0-9-]+==\S+( ; .+)? \\$", pin)] == []
    assert [it for it in requirements if not re.search(r"--hash=sha256:[0-9a-f]{64}", it)] == []
    assert "://" not in lock
    assert "--index-url" not in "\n".join(lines)
    assert "--find-links" not in "\n".join(lines)


def test_the_image_runs_on_versions_that_were_tested() -> None:
    """What the image installs is part of the lock that tests run on, hash for hash."""
    tested = set((ROOT / "requirements.lock").read_text().split())
    image = (ROOT / "requirements-image.lock").read_text()
    pins = re.findall(r"^\S+==\S+|--hash=\S+", image, re.MULTILINE)
    assert pins
    assert [pin for pin in pins if pin not in tested] == []


def test_every_dependency_is_locked() -> None:
    """No dependency was added without locking it."""
    project = read_pyproject()
    declared = project["project"]["dependencies"] + project["dependency-groups"]["dev"]
    names = {re.split(r"[\[<>=;~! ]", line)[0].lower() for line in declared}
    lock = (ROOT / "requirements.lock").read_text()
    assert [
        name for name in sorted(names) if not re.search(rf"^{name}==", lock, re.MULTILINE)
    ] == []


def test_no_file_names_a_registry_or_a_path_of_one_machine() -> None:
    """The project works wherever it is checked out, with whatever registry pip is told to use."""
    found = []
    for path in project_files():
        text = path.read_bytes().decode(errors="replace")
        named = [registry for registry in _REGISTRIES if registry in text]
        found += [f"{path.relative_to(ROOT)}: {name}" for name in named]
        found += [f"{path.relative_to(ROOT)}: {hit[0]}" for hit in _MACHINE_PATH.finditer(text)]
    assert found == []


@pytest.mark.parametrize(
    "text",
    ["see /home" + "/me/x", "'/root" + "/.cache'", "\n/Users" + "/me"],
    ids=["home", "root", "mac"],
)
def test_a_path_of_one_machine_is_noticed(text: str) -> None:
    """The check above checks something."""
    assert _MACHINE_PATH.search(text)


def test_the_changelog_tells_of_this_version() -> None:
    """The newest entry of the changelog is the version that ``pyproject.toml`` states."""
    changelog = (ROOT / "CHANGELOG.md").read_text()
    versions = re.findall(r"^## \[(\d+\.\d+\.\d+)\]", changelog, re.MULTILINE)
    assert versions[0] == _VERSION


def test_the_readme_names_no_other_version() -> None:
    """Where the README states a version of Millrace, it is this one."""
    readme = (ROOT / "README.md").read_text()
    stated = re.findall(r"millrace[ :=v]+(\d+\.\d+\.\d+)", readme, re.IGNORECASE)
    assert set(stated) <= {_VERSION}


def test_every_module_says_what_it_is_for() -> None:
    """A module begins with a docstring."""
    silent = [path for path in _MODULES if not _opens_with_text(path)]
    assert silent == []


def _opens_with_text(module: Path) -> bool:
    """Whether a module's first token is a text; to parse all of them takes seconds."""
    with module.open("rb") as source:
        for token in tokenize.tokenize(source.readline):
            if token.type not in {tokenize.ENCODING, tokenize.COMMENT, tokenize.NL}:
                return (
                    token.string.lstrip("r").startswith('"""') and token.string.strip('r" \n') != ""
                )
    return False


def test_packages_export_nothing() -> None:
    """An ``__init__.py`` holds a docstring and nothing else: an import path is a file's path."""
    packages = [path for path in _MODULES if path.name == "__init__.py"]
    exporting = [path for path in packages if len(ast.parse(path.read_text()).body) != 1]
    assert packages
    assert exporting == []


def test_continuous_integration_runs_make_test() -> None:
    """``.ci/run`` can be executed and runs what the README tells everybody to run."""
    script = ROOT / ".ci" / "run"
    commands = [
        line
        for line in script.read_text().splitlines()
        if line and not line.startswith(("#", "set ", "cd "))
    ]
    assert os.access(script, os.X_OK)
    assert commands == ["exec make test </dev/null"]


def test_workflow_actions_are_pinned_by_commit() -> None:
    """Every action that the workflow uses is named by a full commit hash."""
    jobs = read_yaml(".github/workflows/ci.yml")["jobs"]
    used = [step["uses"] for job in jobs.values() for step in job["steps"] if "uses" in step]
    assert used
    assert [action for action in used if not _PINNED_ACTION.fullmatch(action)] == []


def test_the_last_job_waits_for_all_others() -> None:
    """A branch rule that names ``all-green`` waits for everything."""
    jobs = read_yaml(".github/workflows/ci.yml")["jobs"]
    assert set(jobs["all-green"]["needs"]) == set(jobs) - {"all-green"}
    assert all("timeout-minutes" in job for job in jobs.values())


@pytest.mark.timeout(30)
def test_workflow_follows_githubs_schema() -> None:
    """GitHub's schema of workflows accepts the file."""
    done = run_tool(
        "check-jsonschema",
        "--builtin-schema",
        "vendor.github-workflows",
        ".github/workflows/ci.yml",
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.timeout(30)
def test_hooks_are_valid() -> None:
    """pre-commit accepts its configuration."""
    done = run_tool("pre-commit", "validate-config")
    assert done.returncode == 0, done.stdout


def test_every_target_of_the_makefile_is_phony_or_a_file() -> None:
    """A file that happens to have a target's name does not stop the target."""
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z-]+):(?!=)", makefile, re.MULTILINE))
    assert targets == set(re.findall(r"^\.PHONY: (\S+)$", makefile, re.MULTILINE))
