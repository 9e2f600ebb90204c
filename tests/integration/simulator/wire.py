"""What a socket sees: requests written and answers read byte by byte."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

_READ_BYTES = 65_536


@dataclass
class Heard:
    """An answer as it came off the socket.

    Attributes:
        pieces: What each read returned.
        ending: ``open`` (nothing more for a while), ``closed`` or ``reset``.
    """

    pieces: list[bytes] = field(default_factory=list)
    ending: str = "open"

    @property
    def data(self) -> bytes:
        """All bytes."""
        return b"".join(self.pieces)

    @property
    def status(self) -> int:
        """HTTP status; 0 = there is no status line."""
        return int(self.data.split(b" ", 2)[1]) if self.data else 0


def request_bytes(
    path: str, body: dict[str, object] | bytes = b"", *, method: str = "POST", close: bool = False
) -> bytes:
    """A request with a JSON body."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = [
        f"{method} {path} HTTP/1.1",
        "Host: 127.0.0.1",
        f"Content-Length: {len(data)}",
        *(["Connection: close"] if close else []),
    ]
    return "\r\n".join([*head, "", ""]).encode() + data


def chat_body(
    model: str, content: str = "hello", *, stream: bool = False, **fields: object
) -> dict[str, object]:
    """A chat request."""
    messages = [{"role": "user", "content": content}]
    return {"model": model, "messages": messages, "stream": stream} | fields


@contextlib.asynccontextmanager
async def connected(
    port: int,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection to the simulator."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def listen(reader: asyncio.StreamReader, *, silence_s: float = 10.0) -> Heard:
    """Read until the connection ends, or until nothing has come for ``silence_s``."""
    heard = Heard()
    while True:
        try:
            piece = await asyncio.wait_for(reader.read(_READ_BYTES), silence_s)
        except TimeoutError:
            return heard
        except ConnectionResetError:
            heard.ending = "reset"
            return heard
        if not piece:
            heard.ending = "closed"
            return heard
        heard.pieces.append(piece)


async def said(
    port: int,
    body: dict[str, object],
    *,
    path: str = "/v1/chat/completions",
    silence_s: float = 10.0,
) -> Heard:
    """Send one request on a connection of its own and read all that comes."""
    async with connected(port) as (reader, writer):
        writer.write(request_bytes(path, body, close=True))
        return await listen(reader, silence_s=silence_s)
