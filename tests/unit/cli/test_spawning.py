"""Processes that are forked from one that has imported what they need."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from services.cli.local_stack.spawning import Nursery, ProcessSpec

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forking is for Linux")

NEWBORN = """
import os, pathlib, signal, sys, time

def main():
    print(os.environ["WORD"], os.getcwd(), os.getsid(0), flush=True)
    print(sorted(os.environ), file=sys.stderr, flush=True)
    if os.environ["WORD"] == "leave":
        raise SystemExit(7)
    if os.environ["WORD"] == "stumble":
        raise ValueError("on a stone")
    time.sleep(600)
"""


async def _always() -> bool:
    return True


class Cradle:
    """A nursery for one package, and what it says.

    Attributes:
        nursery: It.
        said: What an operator was told.
        folder: Where everything is.
    """

    def __init__(self, folder: Path) -> None:
        """Prepare."""
        package = folder / "newborn"
        package.mkdir()
        (package / "__init__.py").touch()
        (package / "__main__.py").write_text(NEWBORN + "\nif __name__ == '__main__':\n    main()\n")
        self.said: list[str] = []
        self.folder = folder
        self.nursery = Nursery(("newborn",), log=folder / "nursery.log", on_event=self.said.append)

    async def start(self) -> None:
        """Start it."""
        path = os.pathsep.join((str(self.folder), *sys.path))
        await self.nursery.start(environ={"PYTHONPATH": path}, folder=self.folder)

    def spec(self, word: str) -> ProcessSpec:
        """A process that says a word."""
        home = self.folder / "home"
        home.mkdir(exist_ok=True)
        return ProcessSpec(
            name=word,
            command=(sys.executable, "-m", "newborn"),
            module="newborn",
            environ={"WORD": word, "PYTHONPATH": str(self.folder)},
            folder=home,
            log=self.folder / f"{word}.log",
            is_ready=_always,
        )

    def log(self, word: str) -> list[str]:
        """What a process has written."""
        return (self.folder / f"{word}.log").read_text().splitlines()


@pytest.fixture
async def cradle(tmp_path: Path) -> AsyncIterator[Cradle]:
    """A nursery that runs."""
    cradle = Cradle(tmp_path)
    await cradle.start()
    yield cradle
    await cradle.nursery.stop()


async def said(cradle: Cradle, word: str) -> list[str]:
    """The two lines of a process, once they are there."""
    async with asyncio.timeout(20):
        while len(cradle.log(word)) < 2:  # noqa: ASYNC110  another process writes
            await asyncio.sleep(0.01)
    return cradle.log(word)


async def test_a_newborn_is_as_if_started_by_itself(cradle: Cradle) -> None:
    """Its own environment, folder, session, log and name; and a child of who asked for it."""
    child = await cradle.nursery.spawn(cradle.spec("live"))
    first, second = await said(cradle, "live")
    assert first == f"live {cradle.folder / 'home'} {child.pid}"  # its session is its own
    assert second == "['PYTHONPATH', 'WORD']"
    process = psutil.Process(child.pid)
    assert process.ppid() == os.getpid()
    assert process.cmdline()[0] == f"{sys.executable} -m newborn"
    assert process.name() == "newborn"
    child.send_signal(signal.SIGTERM)
    assert await child.wait() == child.returncode == -signal.SIGTERM
    child.send_signal(signal.SIGTERM)  # nobody gets it
    assert not cradle.said


@pytest.mark.parametrize(("word", "code"), [("leave", 7), ("stumble", 1)])
async def test_its_end_is_told(cradle: Cradle, word: str, code: int) -> None:
    """With the code that it ended with, and its traceback in its log."""
    child = await cradle.nursery.spawn(cradle.spec(word))
    assert await child.wait() == code
    assert (cradle.log(word)[-1] == "ValueError: on a stone") == (word == "stumble")


async def test_one_killed_at_birth_is_waited_for(cradle: Cradle) -> None:
    """It is a child of who asked for it from the first moment, so its end is told even then."""
    for _ in range(40):
        child = await cradle.nursery.spawn(cradle.spec("live"))
        assert psutil.Process(child.pid).ppid() == os.getpid()
        child.send_signal(signal.SIGKILL)
        async with asyncio.timeout(10):
            assert await child.wait() == -signal.SIGKILL


async def test_many_at_once_are_told_apart(cradle: Cradle) -> None:
    """Each is who it says it is."""
    specs = [cradle.spec(f"w{number}") for number in range(8)]
    children = await asyncio.gather(*(cradle.nursery.spawn(spec) for spec in specs))
    for spec, child in zip(specs, children, strict=True):
        first, _ = await said(cradle, spec.name)
        assert first == f"{spec.name} {spec.folder} {child.pid}"
        child.send_signal(signal.SIGKILL)
        assert await child.wait() == -signal.SIGKILL


async def test_it_forks_alone(cradle: Cradle) -> None:
    """What it is to import for the stack starts no thread, so that forking it is safe."""
    modules = [f"services.{name}" for name in ("gateway", "cache_lookup", "router", "batcher")]
    modules += [f"services.{name}" for name in ("model_caller", "simulator", "local_models")]
    code = (
        "import importlib, os, sys\n"
        "for name in sys.argv[1:]: importlib.import_module(name + '.__main__')\n"
        "print(len(os.listdir('/proc/self/task')))"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, *modules, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    assert output.strip() == b"1"
    assert cradle.said == []


async def test_without_it_services_start_as_programs(cradle: Cradle) -> None:
    """Killed, it is missed, which is said once; what it bore lives on."""
    elder = await cradle.nursery.spawn(cradle.spec("elder"))
    await said(cradle, "elder")
    (nursery,) = [
        child
        for child in psutil.Process().children()
        if "services.cli.local_stack.nursery" in child.cmdline()
    ]
    nursery.kill()
    words = ("younger", "youngest", "last")
    children = await asyncio.gather(*(cradle.nursery.spawn(cradle.spec(word)) for word in words))
    for word, child in zip(words, children, strict=True):
        await said(cradle, word)
        child.send_signal(signal.SIGKILL)
        assert await child.wait() == -signal.SIGKILL
    assert elder.returncode is None
    elder.send_signal(signal.SIGKILL)
    await elder.wait()
    assert len(cradle.said) == 1


async def test_one_that_cannot_import_is_no_hindrance(tmp_path: Path) -> None:
    """The nursery of a broken package ends; its processes start as programs, and say why."""
    cradle = Cradle(tmp_path)
    (tmp_path / "newborn" / "__main__.py").write_text("import nothing_of_that_name\n")
    await cradle.start()
    child = await cradle.nursery.spawn(cradle.spec("broken"))
    assert await child.wait() == 1
    assert "nothing_of_that_name" in cradle.log("broken")[-1]
    assert "nothing_of_that_name" in (tmp_path / "nursery.log").read_text()
    await cradle.nursery.stop()
