"""The whole stack as a newcomer starts it, in a folder of its own, on free ports."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from openai import AsyncOpenAI, OpenAI
from prometheus_client.parser import text_string_to_metric_families

from tests.support.project import ROOT
from tests.support.temporary_folders import temporary_folder

PATIENCE_S = 30.0
_START_S = 240.0  # the first start on a machine fetches Kafka
_STOP_S = 40.0
_POLL_S = 0.02
_MILLRACE = Path(sys.executable).with_name("millrace")


def wait_until(condition: Callable[[], object], *, timeout_s: float = PATIENCE_S) -> None:
    """Wait until something outside this process is so."""
    give_up_at_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < give_up_at_s, f"it did not happen in {timeout_s:g} s"
        time.sleep(_POLL_S)


class RunningStack:
    """A stack and what a stranger does with it: the command line, HTTP, OpenAI's client, Kafka."""

    def __init__(self, data: Path, environ: Mapping[str, str] | None = None) -> None:
        """Speak of the stack in a data directory; ``up`` starts it.

        Args:
            data: The directory.
            environ: More variables for the command line, and so for what it starts.
        """
        self.data = data
        self._environ = dict(environ or {})

    # -- its life --------------------------------------------------------------------------------

    def millrace(
        self, *arguments: str, stdin: bytes = b"", timeout_s: float = 60.0
    ) -> subprocess.CompletedProcess[bytes]:
        """Run ``millrace`` on this stack; any exit code is fine."""
        own = {"MILLRACE_DATA": str(self.data), "COLUMNS": "200"}
        environ = {**os.environ, **self._environ, **own}
        return subprocess.run(
            [str(_MILLRACE), *arguments],
            input=stdin,
            capture_output=True,
            check=False,
            cwd=ROOT,
            env=environ,
            timeout=timeout_s,
        )

    def said(self, *arguments: str, stdin: bytes = b"", timeout_s: float = 60.0) -> str:
        """Run ``millrace``, which must succeed; returns what it wrote to standard output."""
        done = self.millrace(*arguments, stdin=stdin, timeout_s=timeout_s)
        assert done.returncode == 0, (arguments, done.returncode, done.stdout, done.stderr)
        return done.stdout.decode()

    def up(self, *options: str) -> str:
        """Start it in the background; returns when requests are answered."""
        said = self.said("up", "--detach", *options, timeout_s=_START_S)
        wait_until(lambda: self.status()["is_ready"])
        return said

    def down(self) -> None:
        """Stop it."""
        self.said("down", timeout_s=_STOP_S)

    def status(self) -> dict[str, Any]:
        """``millrace status --json``."""
        document: dict[str, Any] = json.loads(self.millrace("status", "--json").stdout)
        return document

    # -- its processes ---------------------------------------------------------------------------

    def process(self, name: str) -> dict[str, Any]:
        """What the supervisor says of a process, without asking the process itself."""
        state = json.loads((self.data / "state.json").read_bytes())
        found: dict[str, Any] = next(p for p in state["processes"] if p["name"] == name)
        return found

    def signal(self, name: str, number: signal.Signals) -> int:
        """Send a process a signal; returns its id."""
        pid: int = self.process(name)["pid"]
        os.kill(pid, number)
        return pid

    def is_replaced(self, name: str, *, pid: int) -> bool:
        """Whether another process runs in place of the one of that id."""
        process = self.process(name)
        return process["state"] == "running" and process["pid"] not in (None, pid)

    def log(self, name: str) -> str:
        """What a process has written."""
        return (self.data / "logs" / f"{name}.log").read_text(errors="replace")

    # -- its addresses ---------------------------------------------------------------------------

    @property
    def addresses(self) -> dict[str, str]:
        """URL or ``host:port`` by name."""
        addresses: dict[str, str] = json.loads((self.data / "state.json").read_bytes())["addresses"]
        return addresses

    @property
    def kafka(self) -> str:
        """Bootstrap servers."""
        return self.addresses["kafka"]

    @property
    def address(self) -> tuple[str, int]:
        """Where the gateway listens."""
        parts = urlsplit(self.addresses["gateway"])
        assert parts.hostname is not None
        assert parts.port is not None
        return parts.hostname, parts.port

    @property
    def key(self) -> str:
        """The development key."""
        return (self.data / "dev-key").read_text().strip()

    @property
    def environ(self) -> Mapping[str, str]:
        """What the README tells users of OpenAI's clients and of Kafka to set."""
        return {
            "OPENAI_BASE_URL": self.addresses["openai"],
            "OPENAI_API_KEY": self.key,
            "KAFKA": self.kafka,
            "REGISTRY": self.addresses["schema_registry"],
        }

    # -- its clients -----------------------------------------------------------------------------

    def openai(self, **options: Any) -> OpenAI:
        """OpenAI's own client, unmodified; without retries unless told otherwise."""
        return OpenAI(**self._client_options(options))

    def async_openai(self, **options: Any) -> AsyncOpenAI:
        """The same, asynchronous."""
        return AsyncOpenAI(**self._client_options(options))

    def _client_options(self, options: dict[str, Any]) -> dict[str, Any]:
        address = self.addresses["openai"]
        return {"base_url": address, "api_key": self.key, "max_retries": 0, **options}

    def get(self, path: str, *, service: str = "gateway") -> tuple[int, bytes]:
        """Status and body of a plain GET."""
        return self._get(self.addresses[service], path)

    def _get(self, address: str, path: str) -> tuple[int, bytes]:
        parts = urlsplit(address)
        assert parts.hostname is not None
        connection = HTTPConnection(parts.hostname, parts.port, timeout=PATIENCE_S)
        with contextlib.closing(connection):
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read()

    def metric(self, process: str, name: str) -> float:
        """The value of a metric without labels."""
        _, page = self._get(self.status()["addresses"]["metrics"][process], "/metrics")
        families = text_string_to_metric_families(page.decode())
        return next(s.value for family in families for s in family.samples if s.name == name)

    def has_retry_budget(self, calls: int) -> bool:
        """Whether the model caller may repeat so many calls: it comes back with time."""
        return self.metric("model-caller", "millrace_model_calls_retry_budget") >= calls

    def calls(self, model: str) -> list[dict[str, Any]]:
        """What the simulator was asked for a model, by its own log."""
        query = urlencode({"model": model, "limit": 10_000})
        _, body = self.get(f"/v1/simulator/calls?{query}", service="simulator")
        page: list[dict[str, Any]] = json.loads(body)["data"]
        return page


@contextlib.contextmanager
def running_stack(*options: str) -> Iterator[RunningStack]:
    """A stack for the length of a ``with`` block; it ends also if this process is killed."""
    with temporary_folder("e2e") as data, watched(data):
        stack = RunningStack(data)
        stack.up(*options)
        yield stack


@contextlib.contextmanager
def watched(data: Path) -> Iterator[None]:
    """Stop the stack of a data directory at the end, also if this process is killed."""
    watch = subprocess.Popen(
        [sys.executable, "-m", "tests.support.stack_watch", str(data)],
        stdin=subprocess.PIPE,
        cwd=ROOT,
        start_new_session=True,
    )
    try:
        yield
    finally:
        watch.communicate(timeout=_STOP_S)  # closes its input, so it stops the stack
