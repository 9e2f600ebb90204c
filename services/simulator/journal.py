"""The call log on disk, for tests that kill the simulator."""

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path


class Journal:
    """Appends lines to a file; a line counts as written once it is on the disk.

    Lines that arrive while others are being written go to the disk together.
    """

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="journal")
        self._lines: list[bytes] = []
        self._writing: asyncio.Task[None] | None = None
        self._next: asyncio.Task[None] | None = None

    async def append(self, line: bytes) -> None:
        """Write a line and wait until it is on the disk.

        Raises:
            OSError: The disk is full or gone. Not retriable: the file may end in half a line.
        """
        self._lines.append(line + b"\n")
        if self._next is None:
            self._next = asyncio.create_task(self._write_after(self._writing))
        await asyncio.shield(self._next)

    async def _write_after(self, previous: asyncio.Task[None] | None) -> None:
        if previous is not None:
            await asyncio.wait([previous])
        lines, self._lines = self._lines, []
        self._writing, self._next = self._next, None
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._thread, self._write, b"".join(lines))

    def _write(self, data: bytes) -> None:
        left = memoryview(data)
        while left:
            left = left[os.write(self._file, left) :]
        os.fsync(self._file)

    async def close(self) -> None:
        """Wait for what is being written and close the file."""
        for task in (self._writing, self._next):
            if task is not None:
                await task
        self._thread.shutdown()
        os.close(self._file)
