"""HTTP requests as bytes, for a gateway that must stand whatever comes."""

import json
from collections.abc import Mapping
from typing import Any

from tests.support.front_door import Client as RawClient
from tests.support.stack import RunningStack

__all__ = ["RawClient", "body_of", "chat_body", "request_bytes"]


def body_of(**fields: Any) -> bytes:
    """A JSON body; a chat's messages are there unless other inputs are."""
    if not {"messages", "prompt", "input"} & set(fields):
        fields["messages"] = [{"role": "user", "content": "Why?"}]
    return json.dumps(fields).encode()


def chat_body(**fields: Any) -> bytes:
    """The body of a good chat request with changes."""
    return body_of(**{"model": "sim-fast:tokens=5", **fields})


def request_bytes(
    stack: RunningStack,
    path: str,
    body: bytes = b"",
    *,
    method: str = "POST",
    headers: Mapping[str, str | None] | None = None,
) -> bytes:
    """A request with a valid key; ``None`` leaves a usual header out."""
    usual: dict[str, str | None] = {
        "host": "127.0.0.1",
        "authorization": f"Bearer {stack.key}",
        "content-type": "application/json",
        "content-length": str(len(body)) if method == "POST" else None,
    }
    lines = [
        f"{name}: {value}"
        for name, value in {**usual, **(headers or {})}.items()
        if value is not None
    ]
    head = "\r\n".join([f"{method} {path} HTTP/1.1", *lines, "", ""])
    return head.encode("latin-1") + body
