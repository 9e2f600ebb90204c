"""The first request of ``millrace up --demo``: OpenAI's own client, then the request's journey."""

import asyncio
import re
import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec
from rich.console import Console

_EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "openai_chat.py"
_REQUEST_ID = re.compile(r"request id: (req_[0-9a-f]+)")
_TERMINAL_WITHIN_S = 5.0
_LOOK_EVERY_S = 0.1


class Demo(msgspec.Struct, frozen=True, kw_only=True):
    """Where the demonstration finds the stack.

    Attributes:
        base_url: The OpenAI endpoint.
        key_file: File with the development key.
        bootstrap: Kafka.
        environ: The environment.
    """

    base_url: str
    key_file: Path
    bootstrap: str
    environ: Mapping[str, str]


async def show(demo: Demo, console: Console) -> None:
    """Stream an answer to the console, then show its hops.

    What goes wrong is said, and the stack goes on.
    """
    console.print("\nAsking with OpenAI's Python client (examples/openai_chat.py):\n", style="bold")
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(_EXAMPLE),
        env={
            **demo.environ,
            "OPENAI_BASE_URL": demo.base_url,
            "OPENAI_API_KEY": demo.key_file.read_text().strip(),
            "NO_PROXY": "127.0.0.1",
        },
        stdout=asyncio.subprocess.PIPE,
    )
    text = await _relayed(process)
    if await process.wait() != 0:
        console.print("The example failed; 'millrace doctor' may say why.", style="red")
        return
    match = _REQUEST_ID.search(text)
    if match is not None:
        await _show_journey(match[1], demo, console)


async def _relayed(process: asyncio.subprocess.Process) -> str:
    """Print the process' output as it comes; returns all of it."""
    parts = []
    if process.stdout is not None:
        while part := await process.stdout.read(256):
            parts.append(part)
            sys.stdout.write(part.decode(errors="replace"))
            sys.stdout.flush()
    return b"".join(parts).decode(errors="replace")


async def _show_journey(request_id: str, demo: Demo, console: Console) -> None:
    from services.cli.trace import find_terminal, journey_table, summary  # noqa: PLC0415

    finished = None
    try:
        async with asyncio.timeout(_TERMINAL_WITHIN_S):
            while finished is None:
                finished = await asyncio.to_thread(find_terminal, demo.bootstrap, request_id)
                await asyncio.sleep(_LOOK_EVERY_S)
    except TimeoutError:
        console.print(f"Its journey is not there yet: millrace trace {request_id}", style="yellow")
        return
    console.print(f"\nIts journey (millrace trace {request_id}):\n", style="bold", soft_wrap=True)
    console.print(journey_table(finished))
    console.print(summary(finished), highlight=False, markup=False, soft_wrap=True)
    console.print()
