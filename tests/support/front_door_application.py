"""An application behind the front door that does by path what a test wants, and its requests."""

import asyncio
import json

from starlette.types import Message, Receive, Scope, Send

from services.gateway.front_door.exchange import ClientGone, Exchange
from services.gateway.front_door.limits import FrontDoorLimits

QUICK = FrontDoorLimits(
    idle_s=0.2,
    head_s=0.3,
    keep_alive_s=0.3,
    body_stall_s=0.3,
    body_grace_s=0.3,
    linger_s=0.3,
    linger_bytes=64 * 1024,
    max_body_bytes=64 * 1024,
    write_stall_s=0.4,
    drain_s=0.3,
    notice_s=0.3,
    cancel_s=0.3,
    sweep_s=0.02,
)
# Time limits out of the way of the tests that are about something else.
PATIENT = FrontDoorLimits(linger_s=5.0, sweep_s=0.02, drain_s=0.3, notice_s=0.3, cancel_s=0.3)


class Application:
    """Does by path what a test wants, and keeps what it saw."""

    def __init__(self) -> None:
        """Nothing has been seen."""
        self.paths: list[str] = []
        self.received_bytes: list[int] = []
        self.gone: list[str] = []
        self.may_answer = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "lifespan":
            raise NotImplementedError
        self.paths.append(scope["path"])
        exchange: Exchange = scope["millrace.exchange"]
        exchange.on_gone = lambda: self.gone.append("on_gone")
        action = getattr(self, f"_{scope['path'].removeprefix('/').replace('/', '_')}", self._echo)
        try:
            await action(scope, receive, send)
        except ClientGone:
            self.gone.append("left")
            raise

    async def _echo(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await self._read(receive)
        seen = {
            "method": scope["method"],
            "path": scope["path"],
            "query": scope["query_string"].decode(),
            "hosts": [value.decode() for name, value in scope["headers"] if name == b"host"],
            "headers": [name.decode() for name, _ in scope["headers"]],
            "body": body.decode(),
        }
        await _answer(send, json.dumps(seen).encode())

    async def _read(self, receive: Receive) -> bytes:
        body = b""
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            body += bytes(message["body"])
            if not message["more_body"]:
                self.received_bytes.append(len(body))
                return body

    async def _wait(self, scope: Scope, receive: Receive, send: Send) -> None:
        del scope
        await self._read(receive)
        await self.may_answer.wait()
        await _answer(send, b"waited")

    async def _early(self, scope: Scope, receive: Receive, send: Send) -> None:
        del scope, receive
        await _answer(send, b"unauthorised", status=401)

    async def _stream(self, scope: Scope, receive: Receive, send: Send) -> None:
        del scope
        await self._read(receive)
        await send(_start())
        await send(_body(b"data: 1\n\n"))
        await self.may_answer.wait()
        await send(_body(b"data: [DONE]\n\n", is_last=True))

    async def _flood(self, scope: Scope, receive: Receive, send: Send) -> None:
        del scope
        await self._read(receive)
        await send(_start())
        for _ in range(4096):
            await send(_body(b"x" * 16384))
        await send(_body(b"end", is_last=True))

    async def _crash(self, scope: Scope, receive: Receive, send: Send) -> None:
        raise LookupError("made up")

    async def _crash_late(self, scope: Scope, receive: Receive, send: Send) -> None:
        del scope, receive
        await send(_start())
        await send(_body(b"data: 1\n\n"))
        raise LookupError("made up")

    async def _return_early(self, scope: Scope, receive: Receive, send: Send) -> None:
        del scope, receive
        await send(_start())
        await send(_body(b"data: 1\n\n"))

    async def _inject(self, scope: Scope, receive: Receive, send: Send) -> None:
        del scope, receive
        await send(_start((b"x-model", b"a\r\nset-cookie: b")))

    async def _watch(self, scope: Scope, receive: Receive, send: Send) -> None:
        del scope, send
        await self._read(receive)
        message = await receive()
        self.gone.append(message["type"])


def _start(*headers: tuple[bytes, bytes], status: int = 200) -> Message:
    return {"type": "http.response.start", "status": status, "headers": list(headers)}


def _body(data: bytes, *, is_last: bool = False) -> Message:
    return {"type": "http.response.body", "body": data, "more_body": not is_last}


async def _answer(send: Send, body: bytes, *, status: int = 200) -> None:
    await send(_start((b"content-length", str(len(body)).encode()), status=status))
    await send(_body(body, is_last=True))


def post(path: str, body: bytes = b"{}", *headers: str) -> bytes:
    """A whole POST request."""
    lines = [f"POST {path} HTTP/1.1", "host: test", f"content-length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def head(*lines: str, first: str = "POST /v1 HTTP/1.1") -> bytes:
    """A request head of the given lines."""
    return "\r\n".join([first, *lines]).encode("latin-1") + b"\r\n\r\n"
