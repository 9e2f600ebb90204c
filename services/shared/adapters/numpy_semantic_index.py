"""The semantic index in the memory of its process: a float32 matrix a scope, one product a query.

float32 although vectors come as float16: no processor of ours multiplies halves, and to widen a
matrix costs more than to multiply it. An entry takes about 2.5 KB.
"""

import asyncio
from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from services.shared.domain.events import AnswerCached, SemanticKey
from services.shared.ports.semantic_index import Near

MOST_ENTRIES = 200_000
"""Entries of all scopes together; about 0.5 GB."""

_FIRST_ROWS = 4  # most scopes are a system prompt that is used once
_INLINE_ROWS = 4_000  # compared in less time than a thread takes to be woken on a busy machine
_SWEEP_EVERY_MS = 60_000.0
_LEAST_NORM = 1e-6

Matrix = NDArray[np.float32]
Times = NDArray[np.int64]


class NumpySemanticIndex:
    """A ``SemanticIndex``; never unavailable."""

    def __init__(self, *, max_entries: int, most_entries: int = MOST_ENTRIES) -> None:
        """Start empty.

        Args:
            max_entries: Of one scope.
            most_entries: Of all scopes together.
        """
        self._max_entries = max_entries
        self._most_entries = most_entries
        self._scopes: dict[str, _Scope] = {}
        self._places: dict[str, tuple[str, str]] = {}  # scope and fingerprint by id, oldest first
        self._swept_ms = 0.0

    def __len__(self) -> int:
        """Entries that are held."""
        return len(self._places)

    async def put(self, entries: Sequence[AnswerCached]) -> None:
        """Add entries."""
        for entry in entries:
            key = entry.semantic
            if key is not None and _is_vector(key.vector):
                self._put(entry, key)

    async def remove(self, entry_ids: Sequence[str]) -> None:
        """Remove entries."""
        for entry_id in entry_ids:
            self._remove(entry_id)

    async def nearest(
        self, keys: Sequence[SemanticKey], *, most: int, now_ms: float
    ) -> Sequence[Sequence[Near]]:
        """The closest entries of each key's scope; a long scope is searched in a thread."""
        self._sweep(now_ms)
        together: dict[str, list[int]] = {}
        for number, key in enumerate(keys):
            if key.scope in self._scopes:
                together.setdefault(key.scope, []).append(number)
        found: list[Sequence[Near]] = [()] * len(keys)
        for name, numbers in together.items():
            nears = await self._nearest_of(name, [keys[it] for it in numbers], most, now_ms)
            for number, near in zip(numbers, nears, strict=True):
                found[number] = near
        return found

    async def _nearest_of(
        self, name: str, keys: Sequence[SemanticKey], most: int, now_ms: float
    ) -> list[Sequence[Near]]:
        scope = self._scopes[name]
        fits = [len(key.vector) == scope.vector_bytes for key in keys]
        if not all(fits):
            return [()] * len(keys)  # another encoder, whatever the scope says
        queries = np.stack([_widened(key.vector) for key in keys])
        matrix, times = scope.filled()
        if len(matrix) * len(keys) <= _INLINE_ROWS:
            rows = _top(matrix, times, queries, most, now_ms)
        else:
            rows = await asyncio.to_thread(_top, matrix, times, queries, most, now_ms)
        # Rows may have moved meanwhile, so what is said of them is looked up once more.
        return [
            scope.described(row, query, now_ms) for row, query in zip(rows, queries, strict=True)
        ]

    def _put(self, entry: AnswerCached, key: SemanticKey) -> None:
        scope = self._scopes.get(key.scope)
        if scope is None:
            scope = self._scopes[key.scope] = _Scope(len(key.vector))
        if len(key.vector) != scope.vector_bytes:
            return
        self._remove(entry.entry_id)
        replaced = scope.find(entry.fingerprint)
        if replaced is not None:
            del self._places[replaced.entry_id]
        elif len(scope) >= self._max_entries:
            self._remove(scope.oldest)
        self._scopes[key.scope] = scope  # an emptied one was let go
        scope.put(entry, key)
        self._places[entry.entry_id] = (key.scope, entry.fingerprint)
        if len(self._places) > self._most_entries:
            self._remove(next(iter(self._places)))

    def _remove(self, entry_id: str) -> None:
        place = self._places.pop(entry_id, None)
        if place is not None:
            scope = self._scopes[place[0]]
            scope.remove(place[1])
            if not len(scope):
                del self._scopes[place[0]]

    def _sweep(self, now_ms: float) -> None:
        """Let go what has expired, once a minute."""
        if now_ms - self._swept_ms >= _SWEEP_EVERY_MS:
            self._swept_ms = now_ms
            for scope in list(self._scopes.values()):
                for entry_id in scope.expired(now_ms):
                    self._remove(entry_id)


class _Scope:
    """Entries that may be compared with one another; their rows have no gaps."""

    def __init__(self, vector_bytes: int) -> None:
        self.vector_bytes = vector_bytes
        self._matrix: Matrix = np.empty((_FIRST_ROWS, vector_bytes // 2), np.float32)
        self._times: Times = np.empty(_FIRST_ROWS, np.int64)
        self._entries: list[AnswerCached] = []
        self._rows: dict[str, int] = {}  # by fingerprint, the oldest first

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def oldest(self) -> str:
        """Id of the entry that was put first."""
        return self._entries[next(iter(self._rows.values()))].entry_id

    def find(self, fingerprint: str) -> AnswerCached | None:
        """The entry of a fingerprint."""
        row = self._rows.get(fingerprint)
        return None if row is None else self._entries[row]

    def put(self, entry: AnswerCached, key: SemanticKey) -> None:
        """Add an entry, or replace that of its fingerprint."""
        bare = msgspec.structs.replace(entry, semantic=msgspec.structs.replace(key, vector=b""))
        row = self._rows.pop(entry.fingerprint, None)
        if row is None:
            row = len(self._entries)
            self._grow_to(row + 1)
            self._entries.append(bare)
        self._entries[row] = bare
        self._matrix[row] = _widened(key.vector)
        self._times[row] = entry.expires_at
        self._rows[entry.fingerprint] = row

    def remove(self, fingerprint: str) -> None:
        """Remove an entry; the last one takes its row."""
        row = self._rows.pop(fingerprint)
        last = self._entries.pop()
        if row < len(self._entries):
            end = len(self._entries)
            self._entries[row] = last
            self._matrix[row] = self._matrix[end]
            self._times[row] = self._times[end]
            self._rows[last.fingerprint] = row

    def expired(self, now_ms: float) -> list[str]:
        """Ids of what is no longer served."""
        (rows,) = np.nonzero(self._times[: len(self._entries)] <= now_ms)
        return [self._entries[row].entry_id for row in rows]

    def filled(self) -> tuple[Matrix, Times]:
        """The rows that hold entries, as they are now."""
        count = len(self._entries)
        return self._matrix[:count], self._times[:count]

    def described(self, rows: Sequence[int], query: Matrix, now_ms: float) -> list[Near]:
        """What stands in some rows now, the closest first."""
        nears = [
            Near(self._entries[row], float(self._matrix[row] @ query))
            for row in rows
            if row < len(self._entries) and self._times[row] > now_ms
        ]
        return sorted(nears, key=lambda near: -near.similarity)

    def _grow_to(self, count: int) -> None:
        if count > len(self._matrix):
            rows = len(self._matrix) * 2
            matrix, times = self.filled()
            self._matrix = np.empty((rows, self.vector_bytes // 2), np.float32)
            self._times = np.empty(rows, np.int64)
            self._matrix[: len(matrix)] = matrix
            self._times[: len(times)] = times


def _top(
    matrix: Matrix, times: Times, queries: Matrix, most: int, now_ms: float
) -> Sequence[Sequence[int]]:
    """Rows of the unexpired entries that are closest to each query, in no order."""
    scores = queries @ matrix.T
    scores[:, times <= now_ms] = -np.inf
    if most < scores.shape[1]:
        rows: Sequence[Sequence[int]] = np.argpartition(scores, -most, axis=1)[:, -most:].tolist()
        return rows
    return [list(range(scores.shape[1]))] * len(queries)


def _widened(vector: bytes) -> Matrix:
    """A vector of length 1 again: rounding to halves changes it by some thousandths."""
    wide = np.frombuffer(vector, "<f2").astype(np.float32)
    unit: Matrix = wide / max(float(np.linalg.norm(wide)), _LEAST_NORM)
    return unit


def _is_vector(vector: bytes) -> bool:
    return len(vector) >= 2 and len(vector) % 2 == 0
