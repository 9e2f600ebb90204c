"""Writes the operation log that the checker reads: JSON lines, one when a thing is begun."""

import itertools
import json
import time
from pathlib import Path
from typing import Any


class OperationLog:
    """One scenario's log.

    Attributes:
        path: Where it is.
    """

    def __init__(self, path: Path) -> None:
        """Start it."""
        self.path = path
        self._file = path.open("w", encoding="utf-8", buffering=1)
        self._numbers = itertools.count(1)

    def invoke(self, **fields: Any) -> int:
        """Something is begun; returns its number."""
        op = next(self._numbers)
        self._write({"type": "invoke", "op": op, **fields})
        return op

    def complete(self, op: int, verdict: str, **fields: Any) -> None:
        """It has ended: ``ok``, ``fail`` or ``info``."""
        self._write({"type": verdict, "op": op, **fields})

    def lines(self) -> list[str]:
        """All lines so far."""
        return self.path.read_text(encoding="utf-8").splitlines()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _write(self, fields: dict[str, Any]) -> None:
        # No client writes down another's sentence: a line is one write of one process.
        self._file.write(json.dumps({"time": time.time(), **fields}) + "\n")
