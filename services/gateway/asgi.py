"""Small ASGI pieces: reading a body, sending an answer."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from typing import Any

from services.gateway.front_door.exchange import Exchange
from services.shared.domain.errors import PublicError, error_document
from services.shared.domain.terminal import retry_headers

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Handler = Callable[["Request", Send], Awaitable[None]]

JSON = "application/json"


class BodyLost(Exception):
    """The body did not arrive; the front door has answered already."""


class Request:
    """A request whose head has arrived."""

    __slots__ = ("_headers", "id", "parameters", "receive", "scope")

    def __init__(self, scope: Scope, receive: Receive, *, request_id: str) -> None:
        """Take over a scope.

        Args:
            scope: ASGI's.
            receive: ASGI's.
            request_id: For ``x-request-id``.
        """
        self.scope = scope
        self.receive = receive
        self.id = request_id
        self.parameters: tuple[str, ...] = ()
        self._headers: dict[bytes, bytes] | None = None

    @property
    def exchange(self) -> Exchange | None:
        """The front door's side of the request; None under another server."""
        exchange: Exchange | None = self.scope.get("millrace.exchange")
        return exchange

    @property
    def headers(self) -> dict[bytes, bytes]:
        """Headers by lower-case name; the last of several."""
        if self._headers is None:
            self._headers = dict(self.scope["headers"])
        return self._headers

    def header(self, name: bytes) -> str:
        """A header as text, empty where there is none."""
        return self.headers.get(name, b"").decode("latin-1")

    def all_of(self, name: bytes) -> list[bytes]:
        """Every header of that name."""
        return [value for key, value in self.scope["headers"] if key == name]

    async def body(self) -> bytes:
        """The whole body; the front door bounds it.

        Raises:
            BodyLost: It did not arrive.
        """
        message = await self.receive()
        if message["type"] == "http.request" and not message.get("more_body"):
            body: bytes = message.get("body", b"")
            return body
        parts = []
        while True:
            if message["type"] != "http.request":
                raise BodyLost
            parts.append(message.get("body", b""))
            if not message.get("more_body"):
                return b"".join(parts)
            message = await self.receive()


def rendered_headers(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    """Headers as ASGI wants them."""
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]


async def send_whole(
    send: Send,
    body: bytes,
    *,
    status: int = 200,
    content_type: str = JSON,
    headers: Iterable[tuple[bytes, bytes]] = (),
) -> None:
    """Send an answer in one piece."""
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [
                (b"content-type", content_type.encode()),
                (b"content-length", b"%d" % len(body)),
                *headers,
            ],
        }
    )
    await send({"type": "http.response.body", "body": body})


async def send_error(
    send: Send, error: PublicError, *, request_id: str, headers: Mapping[str, str] | None = None
) -> None:
    """Send OpenAI's error object with the headers that go with it."""
    extra = {"x-request-id": request_id, **retry_headers(error), **(headers or {})}
    if error.meaning.status == 401:
        extra["www-authenticate"] = 'Bearer realm="millrace"'
    await send_whole(
        send,
        error_document(error),
        status=error.meaning.status,
        headers=rendered_headers(extra),
    )
