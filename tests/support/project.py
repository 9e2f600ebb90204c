"""The project's own files, for tests that hold it to its rules."""

import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
_SCRIPTS = Path(sys.executable).parent
_KNOWN_OR_NEW = ("--cached", "--others", "--exclude-standard")


def run_tool(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a tool of the virtual environment on the project."""
    return subprocess.run(
        [str(_SCRIPTS / name), *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def project_files() -> list[Path]:
    """Every file of the project that git knows, or would add."""
    listed = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files", "-z", *_KNOWN_OR_NEW],  # noqa: S607
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    paths = (ROOT / name for name in listed.stdout.split("\0") if name)
    return [path for path in paths if path.is_file()]


def read_yaml(path: str) -> Any:
    """Read a YAML file of the project."""
    return yaml.safe_load((ROOT / path).read_text())


def read_pyproject() -> dict[str, Any]:
    """Read ``pyproject.toml``."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def services() -> list[str]:
    """Folders below ``services`` that run as processes of a deployment."""
    folders = {path.parent.name for path in (ROOT / "services").glob("*/__init__.py")}
    return sorted(folders - {"shared", "cli"})


def sources_of_services() -> str:
    """The text of every module below ``services``."""
    return "\n".join(path.read_text() for path in (ROOT / "services").rglob("*.py"))
