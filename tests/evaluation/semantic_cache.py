"""The semantic cache for a judge from outside: its real decisions over the real encoder.

``make()`` gives an object with ``decide(query)`` for streams of labelled queries, ``score(a, b)``
scores labelled pairs. ``MILLRACE_ENCODER`` names the encoder's folder, ``MILLRACE_THRESHOLD``
another threshold, ``MILLRACE_VERIFIER=1`` turns the verifier on.
"""

import asyncio
import importlib
import os
from collections import defaultdict
from functools import cache
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from services.cache_lookup.semantic.decide import Candidate, choose, score_of
from services.cache_lookup.semantic.guards import objection
from services.cache_lookup.semantic.question import NotComparable, question_of
from services.shared.domain.configuration_semantic import Semantic
from services.shared.domain.events import AnswerCached, InferenceRequested, SemanticKey
from services.shared.ports.encoder import Encoder
from services.shared.ports.semantic_index import Near

CANDIDATES = 5
THRESHOLD = float(os.environ.get("MILLRACE_THRESHOLD", Semantic().threshold))
USES_VERIFIER = os.environ.get("MILLRACE_VERIFIER") == "1"


@cache
def _encoder() -> Encoder:
    adapter: Any = importlib.import_module("services.shared.adapters.minilm.encoder")
    pinned: Any = importlib.import_module("services.shared.adapters.minilm.pinned")
    encoder: Encoder = adapter.load_encoder(pinned.encoder_folder(os.environ))
    return encoder


@cache
def _vector(text: str) -> NDArray[np.float32]:
    vector: NDArray[np.float32] = asyncio.run(_encoder().encode([text]))[0]
    return vector


class Cache:
    """Scopes in memory; a miss is kept, a hit is not."""

    def __init__(self) -> None:
        self._entries: dict[str, list[AnswerCached]] = defaultdict(list)
        self._vectors: dict[str, list[NDArray[np.float32]]] = defaultdict(list)
        self.last_candidate: int | None = None

    def decide(self, query: dict[str, Any]) -> int | None:
        """Id of the earlier query whose answer is served; None = it is a miss."""
        self.last_candidate = None
        question = question_of(_request(query), encoder=_encoder().build, model=query["model"])
        if isinstance(question, NotComparable) or not _encoder().knows(question.text):
            return None
        vector = _vector(question.text)
        choice = choose(
            question.text,
            self._nearest(question.scope, vector),
            threshold=THRESHOLD,
            use_verifier=USES_VERIFIER,
        )
        if choice.near is not None:
            return int(choice.near.entry.entry_id)
        if choice.candidate is not None:
            self.last_candidate = int(choice.candidate.entry.entry_id)
        self._keep(query, question.scope, question.text, vector)
        return None

    def _nearest(self, scope: str, vector: NDArray[np.float32]) -> list[Candidate]:
        if not self._entries[scope]:
            return []
        similarity = np.stack(self._vectors[scope]) @ vector
        order = np.argsort(-similarity, kind="stable")[:CANDIDATES]
        return [Near(self._entries[scope][place], float(similarity[place])) for place in order]

    def _keep(
        self, query: dict[str, Any], scope: str, text: str, vector: NDArray[np.float32]
    ) -> None:
        key = SemanticKey(scope=scope, encoder=_encoder().build, text=text, vector=b"")
        entry = AnswerCached(
            entry_id=str(query["id"]),
            tenant=query["tenant"],
            model=query["model"],
            operation="chat",
            fingerprint="",
            semantic=key,
        )
        self._entries[scope].append(entry)
        self._vectors[scope].append(vector)


def make() -> Cache:
    """An empty cache."""
    return Cache()


def score(asked: str, cached: str) -> float:
    """How sure it is that two questions have one answer; 0 where a guard objects."""
    mine, theirs = " ".join(asked.split()), " ".join(cached.split())
    if not (_encoder().knows(mine) and _encoder().knows(theirs)) or objection(mine, theirs):
        return 0.0
    similarity = float(_vector(mine) @ _vector(theirs))
    return score_of(mine, theirs, similarity, use_verifier=USES_VERIFIER)


def _request(query: dict[str, Any]) -> InferenceRequested:
    system = [{"role": "system", "content": query["sys"]}] if query["sys"] else []
    messages = [*system, *query["history"], {"role": "user", "content": query["text"]}]
    return InferenceRequested(
        request_id=str(query["id"]),
        operation="chat",
        body=msgspec.json.encode({"model": query["model"], "messages": messages}),
        tenant=query["tenant"],
        model=query["model"],
    )
