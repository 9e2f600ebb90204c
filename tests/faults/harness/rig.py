"""A stack to be harmed: two gateways, four tenants, a provider that writes down what it is asked.

A stack lives for several scenarios; one that does not come back to health is replaced.
"""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from http.client import HTTPException
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from services.cli.local_stack.environment import Surroundings, probes_of, service_environment
from services.cli.local_stack.ports import free_port
from services.cli.local_stack.services import SERVICES, Instance
from services.cli.local_stack.state import Layout
from services.shared.adapters.minilm.pinned import encoder_folder
from tests.faults.checker.log_reader import Schemas
from tests.faults.harness.configuration import Tenant, new_tenants, write_configuration
from tests.support.project import ROOT
from tests.support.stack import RunningStack, watched
from tests.support.temporary_folders import temporary_folder

PARTITIONS = 2
PATH = ("cache-lookup", "router", "batcher", "model-caller")
"""Services on the path that there is one process of, so that a request may have to wait for it."""

BESIDE = ("cache-writer", "metrics-aggregator", "trace-exporter", "schema-registry")
_PATIENCE_S = 60.0
"""A killed broker on a busy machine takes half a minute to come back."""

_POLL_S = 0.05

_CRASHES = '''\
"""Tells a process of the stack, at its start, where it has to die."""

import json
import os
import sys

_WHERE = os.path.join(os.path.dirname(__file__), "crashes.json")
if os.path.exists(_WHERE):
    with open(_WHERE) as file:
        for module, environ in json.load(file).items():
            if module in sys.orig_argv:
                os.environ.update(environ)
'''


async def eventually(
    condition: Callable[[], object], *, timeout_s: float = _PATIENCE_S, poll_s: float = _POLL_S
) -> None:
    """Wait until something outside this process is so, while the load goes on."""
    give_up_at_s = time.monotonic() + timeout_s
    while not await asyncio.to_thread(condition):
        assert time.monotonic() < give_up_at_s, f"it did not happen in {timeout_s:g} s"
        await asyncio.sleep(poll_s)


class Rig:
    """A stack, and what can be done to it.

    Attributes:
        stack: The stack.
        tenants: Who may ask.
        provider_port: Where the model caller expects the provider: the scenario's proxy.
        schemas: How its records are read.
        config: The configuration of its services.
        seen: Violations that earlier scenarios on this stack have shown already.
    """

    def __init__(self, folder: Path, data: Path) -> None:
        """Prepare a stack in a folder; ``start`` starts it."""
        self.tenants: tuple[Tenant, ...] = new_tenants()
        self.provider_port = free_port()
        self.schemas = Schemas(ROOT / "avro")
        self.seen: set[str] = set()
        self.journal = folder / "provider.jsonl"
        self._folder = folder
        self._site = folder / "site"
        self._site.mkdir()
        (self._site / "sitecustomize.py").write_text(_CRASHES)
        self.config = folder / "millrace.yaml"
        write_configuration(self.config, self.tenants, provider_port=self.provider_port)
        environ = {
            "MILLRACE_SIMULATOR_CALL_LOG": str(self.journal),
            "PYTHONPATH": str(self._site),
        }
        self.stack = RunningStack(data, environ)

    def start(self, *options: str) -> None:
        """Start it; returns when requests are answered."""
        self.stack.up(
            "--config", str(self.config), "--partitions", str(PARTITIONS), "--scale", "gateway=2",
            *options,
        )  # fmt: skip

    def path(self, name: str) -> Path:
        """A file beside the stack's own."""
        return self._folder / name

    @property
    def gateways(self) -> dict[str, str]:
        """URL of each gateway by the name of its process."""
        addresses = self.stack.addresses
        return {
            name.replace("_", "-"): url
            for name, url in addresses.items()
            if name.partition("_")[0] == "gateway"
        }

    @property
    def kafka(self) -> str:
        """Bootstrap servers."""
        return self.stack.kafka

    @property
    def simulator_port(self) -> int:
        """Where the simulator listens."""
        return int(self.stack.addresses["simulator"].rpartition(":")[2])

    def is_ready(self) -> bool:
        """Whether every process runs and the gateways can serve; costs little."""
        try:
            is_running = all(
                self.stack.process(name)["state"] == "running"
                for name in (*self.gateways, *PATH, "kafka", "redis", "simulator")
            )
            return is_running and all(
                self.stack.get("/readyz", service=name.replace("-", "_"))[0] == 200
                for name in self.gateways
            )
        except (OSError, HTTPException):
            return False

    # -- faults ----------------------------------------------------------------------------------

    async def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> str:
        """End a process; returns the evidence when its successor works."""
        pid = self.stack.signal(name, number)
        await eventually(lambda: self.stack.is_replaced(name, pid=pid))
        return f"{name} {pid} -> {self.stack.process(name)['pid']}"

    def pid(self, name: str) -> int:
        """Of a running process."""
        pid: int = self.stack.process(name)["pid"]
        return pid

    @contextmanager
    def frozen(self, name: str) -> Iterator[int]:
        """A process that stands still for the length of a ``with`` block."""
        process = psutil.Process(self.pid(name))
        process.suspend()
        try:
            yield process.pid
        finally:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()

    @contextmanager
    def unsupervised(self) -> Iterator[None]:
        """Nothing that ends is started again for the length of a ``with`` block."""
        supervisor = psutil.Process(json.loads((self.stack.data / "state.json").read_text())["pid"])
        supervisor.suspend()
        try:
            yield
        finally:
            supervisor.resume()

    def crash_at(self, service: str, point: str, passage: int) -> Path:
        """Have the next process of a service die at a point, once; returns what shows that it did.

        Args:
            service: Name of the service.
            point: Name of the crash point.
            passage: At which passage.
        """
        mark = self.path(f"crashed-{service}-{point}-{time.time_ns()}")
        environ = {"CRASH_AT": f"{point}:{passage}", "CRASH_ONCE": str(mark)}
        module = f"services.{service.replace('-', '_')}"
        (self._site / "crashes.json").write_text(json.dumps({module: environ}))
        self._end_nursery()  # what is forked reads no ``sitecustomize``
        return mark

    def _end_nursery(self) -> None:
        """Let services start as programs from now on."""
        supervisor = json.loads((self.stack.data / "state.json").read_text())["pid"]
        for child in psutil.Process(supervisor).children():
            if "services.cli.local_stack.nursery" in child.cmdline():
                child.kill()

    def crash_no_more(self) -> None:
        """Processes that start from now on live."""
        (self._site / "crashes.json").unlink(missing_ok=True)

    def _surroundings(self, instance: Instance) -> Surroundings:
        """Of one more process of the stack."""
        served = {
            name.replace("_", "-"): urlsplit(address if "//" in address else f"//{address}").port
            for name, address in self.stack.addresses.items()
        }
        return Surroundings(
            layout=Layout(self.stack.data),
            config=str(self.config),
            ports={name: port for name, port in served.items() if port is not None}
            | {probes_of(instance): free_port()},
            provider_keys=frozenset(),
            encoder=encoder_folder(os.environ),
        )

    @asynccontextmanager
    async def another(self, service: str, *, slot: int) -> AsyncIterator[int]:
        """One more process of a service for the length of a block; it is told to stop at the end.

        Yields its process id.
        """
        instance = Instance(service=next(it for it in SERVICES if it.name == service), slot=slot)
        environ = service_environment(instance, self._surroundings(instance), environ=os.environ)
        log = self.stack.data / "logs" / f"{service}-{slot}.log"
        with log.open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", instance.service.module, env=environ, cwd=ROOT,
                stdout=output, stderr=output, stdin=subprocess.DEVNULL,
            )  # fmt: skip
        try:
            yield process.pid
        finally:
            process.terminate()
            try:
                await asyncio.wait_for(process.wait(), _PATIENCE_S)
            except TimeoutError:
                process.kill()
                await process.wait()


class Rigs:
    """Gives each scenario a stack that works: the last one, or a new one."""

    def __init__(self) -> None:
        """None runs yet."""
        self._rig: Rig | None = None
        self._life = contextlib.ExitStack()

    def get(self) -> Rig:
        """A stack that works."""
        if self._rig is not None and not self._is_sound(self._rig):
            self.close()
        if self._rig is None:
            self._rig = self._life.enter_context(running_rig())
        return self._rig

    def _is_sound(self, rig: Rig) -> bool:
        give_up_at_s = time.monotonic() + _PATIENCE_S
        while time.monotonic() < give_up_at_s:
            if rig.is_ready():
                return True
            time.sleep(_POLL_S)
        return False

    def close(self) -> None:
        """Stop the last one."""
        self._rig = None
        self._life.close()


@contextmanager
def running_rig(
    prepare: Callable[[Path], contextlib.AbstractContextManager[object]] | None = None,
    *options: str,
) -> Iterator[Rig]:
    """A stack of its own for the length of a ``with`` block.

    Args:
        prepare: Given the data directory, enters what has to be there before the stack starts.
        options: More options of ``millrace up``.
    """
    with temporary_folder("faults") as folder, contextlib.ExitStack() as life:
        data = folder / "data"
        data.mkdir()
        if prepare is not None:
            life.enter_context(prepare(data))
        life.enter_context(watched(data))
        rig = Rig(folder, data)
        rig.start(*options)
        try:
            yield rig
        finally:
            keep_logs(folder)


def keep_logs(folder: Path) -> None:
    """Copy what processes, clients and provider wrote to ``FAULTS_LOGS``, where that is set."""
    target = os.environ.get("FAULTS_LOGS")
    if not target:
        return
    kept = Path(target) / folder.name
    shutil.copytree(folder / "data" / "logs", kept)
    for path in folder.glob("*.jsonl"):
        shutil.copy(path, kept)
