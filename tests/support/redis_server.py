"""A real Redis for tests, started by the local stack's own code on a free port.

``redis_url`` is shared by the whole session; ``redis_server`` gives a test one of its own, which it
may kill.
"""

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.cli.local_stack.orphans import guarded
from services.cli.local_stack.ports import HOST, free_port
from services.cli.local_stack.redis import find_redis, redis_command
from tests.support.temporary_folders import temporary_folder

_START_TIMEOUT_S = 10.0
_RETRY_S = 0.01


class RedisServerProcess:
    """A Redis that a test may also kill and start again, empty, on the same port."""

    def __init__(self, *, port: int, folder: Path) -> None:
        """Remember how to start it; ``start`` does."""
        self._command = redis_command(find_redis(os.environ), port=port, folder=folder)
        self._port = port
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Address for clients; stays the same over restarts."""
        return f"redis://{HOST}:{self._port}/0"

    @property
    def pid(self) -> int:
        """Process id of the running server."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it; returns when it answers (some 20 ms)."""
        self._process = subprocess.Popen(
            guarded(self._command, signal.SIGKILL),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        give_up_at_s = time.monotonic() + _START_TIMEOUT_S
        while not self._answers():
            assert self._process.poll() is None, "redis-server ended"
            assert time.monotonic() < give_up_at_s, "redis-server does not answer"
            time.sleep(_RETRY_S)

    def kill(self) -> None:
        """End it with SIGKILL."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _answers(self) -> bool:
        try:
            with socket.create_connection((HOST, self._port), timeout=1.0) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(16).startswith(b"+PONG")
        except OSError:
            return False


@contextlib.contextmanager
def redis_server() -> Iterator[RedisServerProcess]:
    """A Redis of one's own for the length of a ``with`` block; also ends if this process does.

    Enter it on the main thread: on Linux the server ends with the thread that started it.
    """
    with temporary_folder("redis") as folder:
        server = RedisServerProcess(port=free_port(), folder=folder)
        server.start()
        try:
            yield server
        finally:
            server.kill()


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """URL of a real Redis, shared by the session: use keys of your own."""
    with redis_server() as server:
        yield server.url
