"""Chats read as bytes with aiohttp: cheap enough for hundreds at once on a small machine."""

import asyncio
import json
import time
from typing import Any

import aiohttp

from tests.support.history import Operation


async def chat(
    session: aiohttp.ClientSession,
    url: str,
    body: dict[str, Any],
    *,
    timeout_s: float = 60.0,
    log: list[Operation] | None = None,
) -> Operation:
    """Ask and read the answer to its end, whatever that is.

    Args:
        session: With the key among its headers.
        url: Root of the OpenAI endpoint.
        body: The request.
        timeout_s: For the whole.
        log: Where the operation is noted as soon as it begins.
    """
    seen = Operation(
        model=body["model"], is_stream=bool(body.get("stream")), invoked_s=time.monotonic()
    )
    if log is not None:
        log.append(seen)
    try:
        async with (
            asyncio.timeout(timeout_s),
            session.post(f"{url}/chat/completions", json=body) as response,
        ):
            await _read(response, seen)
    except (aiohttp.ClientError, TimeoutError, ConnectionError):
        seen.is_cut = True
    seen.ended_s = time.monotonic()
    return seen


async def _read(response: aiohttp.ClientResponse, seen: Operation) -> None:
    seen.status = response.status
    seen.request_id = response.headers.get("x-request-id", "")
    seen.retry_after = response.headers.get("retry-after", "")
    if response.status != 200 or not seen.is_stream:
        document = json.loads(await response.read())
        if "error" in document:
            seen.error_code = document["error"]["code"]
        else:
            seen.text = document["choices"][0]["message"]["content"]
            seen.is_done = True
        return
    last_s = time.monotonic()
    async for line in response.content:
        now_s = time.monotonic()
        seen.longest_gap_s = max(seen.longest_gap_s, now_s - last_s)
        last_s = now_s
        _take(seen, line)


def _take(seen: Operation, line: bytes) -> None:
    if not line.startswith(b"data: "):
        return
    data = line[len(b"data: ") :].strip()
    if data == b"[DONE]":
        seen.is_done = True
        return
    chunk = json.loads(data)
    if "error" in chunk:
        seen.error_code = chunk["error"]["code"]
        return
    words = "".join(choice["delta"].get("content") or "" for choice in chunk["choices"])
    seen.text += words
    seen.pieces += bool(words)
