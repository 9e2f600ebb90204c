"""Entries of the semantic index for tests."""

from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from services.shared.domain.events import AnswerCached, SemanticKey
from tests.support.fake_clock import START_MS

DIMENSIONS = 16


def direction(number: int, *, dimensions: int = DIMENSIONS) -> NDArray[np.float32]:
    """A unit vector; those of different numbers point elsewhere."""
    vector = np.random.default_rng(number).normal(size=dimensions).astype(np.float32)
    unit: NDArray[np.float32] = vector / np.linalg.norm(vector)
    return unit


def tilted(number: int, *, similarity: float, towards: int = 10_000) -> NDArray[np.float32]:
    """A unit vector whose cosine with ``direction(number)`` is given."""
    base, other = direction(number), direction(towards)
    across = other - (other @ base) * base
    across /= np.linalg.norm(across)
    vector: NDArray[np.float32] = similarity * base + np.sqrt(1 - similarity**2) * across
    return vector


def key_of(vector: NDArray[np.float32], *, scope: str = "scope-a", **changes: Any) -> SemanticKey:
    """A question."""
    key = SemanticKey(
        scope=scope,
        encoder="fake-1",
        text="how deep is the sea?",
        vector=vector.astype("<f2").tobytes(),
    )
    return msgspec.structs.replace(key, **changes)


def entry_of(
    number: int,
    vector: NDArray[np.float32] | None = None,
    *,
    scope: str = "scope-a",
    **changes: Any,
) -> AnswerCached:
    """An entry whose question has this vector, or ``direction(number)``."""
    entry = AnswerCached(
        entry_id=f"request-{number:08d}",
        tenant="acme",
        model="small",
        operation="chat",
        fingerprint=f"{number:064x}",
        answer_hash=f"{number:016x}",
        semantic=key_of(direction(number) if vector is None else vector, scope=scope),
        stored_at=int(START_MS) + number,
        expires_at=int(START_MS) + 3_600_000,
    )
    return msgspec.structs.replace(entry, **changes)
