"""The least that a gateway in Python does: hands bodies on, with Starlette and httpx.

What a stack reaches depends on the machine as much as on the stack; this says what the machine is
worth. Run: ``python -m tests.load.relay UPSTREAM FD``: a root with ``/v1``, and a listening socket.
"""

import contextlib
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.cli.local_stack.orphans import guarded
from services.cli.local_stack.plan import checkout
from services.cli.local_stack.ports import HOST
from tests.load.stack import Target

_PATH = "/chat/completions"
_MOST_CONNECTIONS = 256
_TIMEOUT_S = 60.0
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
def running_relay(upstream: Target) -> Iterator[tuple[Target, int]]:
    """A relay as a process of its own, with its id, for the length of a ``with`` block.

    It listens from the first moment on; who comes before it is ready waits.
    """
    with socket.create_server((HOST, 0), backlog=_MOST_CONNECTIONS) as listener:
        command = [sys.executable, "-m", "tests.load.relay", upstream.url, str(listener.fileno())]
        process = subprocess.Popen(
            guarded(command, signal.SIGKILL), cwd=checkout(), pass_fds=(listener.fileno(),)
        )
        url = f"http://{HOST}:{listener.getsockname()[1]}/v1"
    try:
        yield Target(name="relay", url=url, key=upstream.key), process.pid
    finally:
        process.kill()
        process.wait()


if __name__ == "__main__":
    server = uvicorn.Server(uvicorn.Config(relay(sys.argv[1]), log_level="warning"))
    server.run([socket.socket(fileno=int(sys.argv[2]))])
