"""Runs pytest in one process a core, which share the test files among them.

``python -m tests.support.every_core ARGUMENTS`` starts ``pytest ARGUMENTS`` so often. Each process
collects everything, and claims a file before it runs it; what another has claimed it passes over.
So a process is never told what to do and reports to nobody, which for thousands of small tests
takes as long as the tests themselves. Each prints its own summary; its counts are of its own files.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

_MOST_PROCESSES = 4  # each collects all tests, so more of them gain little
_OPTION = "--claims"

T = TypeVar("T")


class Claims:
    """Which test files this process runs."""

    def __init__(self, folder: Path) -> None:
        """Share a folder with the other processes; it is empty at first."""
        self._folder = folder
        self._known: dict[str, bool] = {}

    def take(self, file: str) -> bool:
        """Whether a file is this process's, which it becomes where no other has it."""
        if file not in self._known:
            try:
                (self._folder / file.replace("/", ".")).touch(exist_ok=False)
            except FileExistsError:
                self._known[file] = False
            else:
                self._known[file] = True
        return self._known[file]


def with_following(
    items: Iterable[T], is_taken: Callable[[T], bool]
) -> Iterator[tuple[T, T | None]]:
    """What is taken, each with the one that is taken next; that is asked no earlier than needed."""
    taken = filter(is_taken, items)
    item = next(taken, None)
    while item is not None:
        following = next(taken, None)
        yield item, following
        item = following


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option by which the processes know of each other."""
    parser.getgroup("millrace").addoption(
        _OPTION, metavar="FOLDER", default="", help="share test files with processes of this folder"
    )


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool | None:
    """Run what was collected and claimed, as pytest runs all of it."""
    folder: str = session.config.getoption(_OPTION)
    if not folder or session.testsfailed or session.config.option.collectonly:
        return None
    claims = Claims(Path(folder))
    for item, following in with_following(
        session.items, lambda item: claims.take(item.nodeid.partition("::")[0])
    ):
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        if session.shouldfail:
            raise session.Failed(session.shouldfail)
        if session.shouldstop:
            raise session.Interrupted(session.shouldstop)
    return True


def main(arguments: list[str]) -> int:
    """Run all processes to their end, and show one output after the other.

    Returns:
        The exit code: of the processes' codes the highest, for a signal 1.
    """
    count = max(1, min(os.cpu_count() or 1, _MOST_PROCESSES))
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as outputs:
        command = [sys.executable, "-m", "pytest", f"{_OPTION}={folder}", *arguments]
        logs = [Path(outputs, str(number)) for number in range(1, count)]
        processes = [_started(command, log) for log in logs]
        codes = [subprocess.run(command, check=False).returncode]
        for process, log in zip(processes, logs, strict=True):
            codes.append(process.wait())
            print(log.read_text(errors="replace"), end="")
    return max(1 if code < 0 else code for code in codes)


def _started(command: list[str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as output:
        return subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
