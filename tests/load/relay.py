"""The least that a gateway in Python does: hands bodies on, with Starlette and httpx.

What a stack reaches depends on the machine as much as on the stack; this says what the machine is
worth. Run: ``python -m tests.load.relay UPSTREAM PORT``, both roots with ``/v1``.
"""

import contextlib
import http.client
import subprocess
import sys
import time
from collections.abc import Iterator

import httpx
import psutil
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.cli.local_stack.plan import checkout
from services.cli.local_stack.ports import HOST, free_port
from tests.load.stack import StackFailed, Target

_PATH = "/chat/completions"
_MOST_CONNECTIONS = 256
_TIMEOUT_S = 60.0
_START_TIMEOUT_S = 20.0
_LOOK_EVERY_S = 0.05
_HANDED_ON = ("content-type", "x-request-id")


def relay(upstream: str) -> Starlette:
    """An application that asks the upstream, and answers what that answers."""
    client = httpx.AsyncClient(
        timeout=_TIMEOUT_S,
        limits=httpx.Limits(
            max_connections=_MOST_CONNECTIONS, max_keepalive_connections=_MOST_CONNECTIONS
        ),
    )

    async def hand_on(request: Request) -> Response:
        headers = {name: request.headers[name] for name in ("authorization", "content-type")}
        answer = await client.post(upstream + _PATH, content=await request.body(), headers=headers)
        kept = {name: answer.headers[name] for name in _HANDED_ON}
        return Response(answer.content, status_code=answer.status_code, headers=kept)

    return Starlette(routes=[Route(f"/v1{_PATH}", hand_on, methods=["POST"])])


@contextlib.contextmanager
def running_relay(upstream: Target) -> Iterator[tuple[Target, psutil.Process]]:
    """A relay as a process of its own, for the length of a ``with`` block.

    Raises:
        StackFailed: It does not start.
    """
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.load.relay", upstream.url, str(port)], cwd=checkout()
    )
    try:
        _wait_for(port)
        url = f"http://{HOST}:{port}/v1"
        yield Target(name="relay", url=url, key=upstream.key), psutil.Process(process.pid)
    finally:
        process.kill()
        process.wait()


def _wait_for(port: int) -> None:
    give_up_at_s = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < give_up_at_s:
        connection = http.client.HTTPConnection(HOST, port, timeout=_START_TIMEOUT_S)
        with contextlib.closing(connection), contextlib.suppress(ConnectionRefusedError):
            connection.request("GET", "/")
            connection.getresponse()
            return
        time.sleep(_LOOK_EVERY_S)
    raise StackFailed("the bare relay does not start")


if __name__ == "__main__":
    uvicorn.run(relay(sys.argv[1]), host=HOST, port=int(sys.argv[2]), log_level="warning")
