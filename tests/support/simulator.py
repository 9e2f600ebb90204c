"""A simulator in a process of its own, on a free port."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlencode

from services.cli.local_stack.orphans import guarded

_EXIT_TIMEOUT_S = 15.0


class StartFailed(Exception):
    """The simulator ended instead of listening; the text is what it said."""


class SimulatorProcess:
    """A running simulator.

    Attributes:
        port: Where it listens, on 127.0.0.1.
        log: What it has written to stderr, line by line.
    """

    def __init__(self, **settings: object) -> None:
        """Start it with these fields of its settings; returns when it listens."""
        own = {f"MILLRACE_{name.upper()}": str(value) for name, value in settings.items()}
        self._process = subprocess.Popen(
            guarded([sys.executable, "-m", "services.simulator"], signal.SIGKILL),
            env=os.environ | {"MILLRACE_SIMULATOR_PORT": "0"} | own,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._process.stderr is not None
        first = self._process.stderr.readline()
        if not first.startswith("{"):
            with self._process:  # waits for it, and closes its pipe
                raise StartFailed(first + self._process.stderr.read())
        self.port: int = json.loads(first)["port"]
        self.log = [first]
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def url(self) -> str:
        """Its root."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def calls(self, *, after: int = 0, model: str = "") -> list[dict[str, Any]]:
        """Its log of calls, at most 10,000."""
        query = urlencode({"after": after, "model": model, "limit": 10_000})
        with contextlib.closing(HTTPConnection("127.0.0.1", self.port, timeout=10)) as connection:
            connection.request("GET", f"/v1/simulator/calls?{query}")
            page: dict[str, list[dict[str, Any]]] = json.load(connection.getresponse())
        return page["data"]

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """End it with a signal; returns its exit status."""
        self._process.send_signal(number)
        status = self._process.wait(_EXIT_TIMEOUT_S)
        self._reader.join(_EXIT_TIMEOUT_S)
        return status

    def close(self) -> None:
        """End it, whatever state it is in."""
        self._process.kill()
        self._process.wait()
        self._reader.join(_EXIT_TIMEOUT_S)
        assert self._process.stderr is not None
        self._process.stderr.close()

    def _read(self) -> None:
        assert self._process.stderr is not None
        self.log.extend(self._process.stderr)


@contextlib.contextmanager
def simulator(**settings: object) -> Iterator[SimulatorProcess]:
    """A simulator of one's own for the length of a ``with`` block."""
    process = SimulatorProcess(**settings)
    try:
        yield process
    finally:
        process.close()
