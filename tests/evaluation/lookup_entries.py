"""Entries of a cache and requests to look up, from made questions."""

import random
from collections.abc import Iterator, Sequence
from itertools import islice

import msgspec
import numpy as np
from numpy.typing import NDArray

from services.cache_lookup.semantic.question import Question, question_of
from services.shared.adapters.minilm.encoder import MiniLmEncoder
from services.shared.adapters.redis_response_cache import RedisResponseCache
from services.shared.codec.records import encode_record
from services.shared.domain.events import (
    AnswerCached,
    CacheEntry,
    InferenceRequested,
    SemanticKey,
)
from services.shared.ports.response_cache import Stored
from tests.evaluation.lookup_tiers import CLOCK, MODEL
from tests.support import questions as asking
from tests.support.example_events import requested

MOST_ENCODED = 2_000
_LEAST_TURN, _MOST_TURN = np.radians(15), np.radians(40)
_TTL_S = 3_600
_WRITTEN_TOGETHER = 200
_ANSWER = msgspec.json.encode(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": MODEL,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "That depends. " * 20},
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 20, "completion_tokens": 60, "total_tokens": 80},
    }
)


class Asking:
    """Questions as they come, and the requests that ask them."""

    def __init__(self, seed: int) -> None:
        """Begin those of a seed."""
        self.dice = random.Random(seed)
        self.questions = asking.questions(str(seed))
        self._count = 0

    def request(self, text: str) -> InferenceRequested:
        """A request that nobody made before."""
        self._count += 1
        body = {"model": MODEL, "messages": [{"role": "user", "content": text}]}
        now_ms = int(CLOCK.now_ms())
        return requested(
            self._count,
            body=msgspec.json.encode(body),
            model=MODEL,
            accepted_at=now_ms,
            deadline_at=now_ms + 3_600_000,
        )

    def repeat(self, request: InferenceRequested) -> InferenceRequested:
        """A request that asks the same again."""
        self._count += 1
        return msgspec.structs.replace(request, request_id=f"repeat-{self._count:08d}")

    def news(self) -> Iterator[InferenceRequested]:
        """Requests without end."""
        while True:
            yield self.request(next(self.questions).text)

    def near(self, entries: Sequence[asking.Question]) -> Iterator[InferenceRequested]:
        """Requests without end, half of them near an entry."""
        while True:
            yield self.request(next(self.questions).text)
            yield self.request(self.dice.choice(entries).reworded(self.dice).text)
            yield self.request(next(self.questions).text)
            yield self.request(self.dice.choice(entries).altered(self.dice).text)


class Entries:
    """What is in the cache.

    Attributes:
        asked: The questions that were encoded.
        requests: The requests that were answered.
        cached: The entries, in the order of the index.
    """

    def __init__(self, asking_: Asking, count: int) -> None:
        """Make the questions; ``encode`` makes the entries."""
        self._asking = asking_
        self.asked = list(islice(asking_.questions, min(count, MOST_ENCODED)))
        dice = asking_.dice
        others = (dice.choice(self.asked).altered(dice) for _ in range(count - len(self.asked)))
        self._texts = [question.text for question in (*self.asked, *others)]
        self.requests = [asking_.request(text) for text in self._texts]
        self.cached: list[AnswerCached] = []

    async def encode(self, encoder: MiniLmEncoder, seed: int) -> None:
        """Make the vectors, and the entries."""
        encoded = await encoder.encode([question.text for question in self.asked])
        rng = np.random.default_rng(seed)
        for number, (text, request) in enumerate(zip(self._texts, self.requests, strict=True)):
            question = question_of(request, encoder=encoder.build, model=MODEL)
            assert isinstance(question, Question), (text, question)
            is_encoded = number < len(encoded)
            vector = encoded[number] if is_encoded else _turned(rng.choice(encoded), rng)
            key = SemanticKey(
                scope=question.scope,
                encoder=encoder.build,
                text=question.text,
                vector=vector.astype("<f2").tobytes(),
            )
            entry = AnswerCached(
                entry_id=request.request_id,
                tenant=request.tenant,
                model=request.model,
                operation=request.operation,
                fingerprint=request.fingerprint,
                semantic=key,
                stored_at=request.accepted_at,
                expires_at=request.accepted_at + _TTL_S * 1_000,
            )
            self.cached.append(entry)

    async def write(self, cache: RedisResponseCache) -> None:
        """Keep the bodies."""
        bodies = [
            Stored(key=it.fingerprint, value=encode_record(_body_of(it)), ttl_s=_TTL_S)
            for it in self.requests
        ]
        for start in range(0, len(bodies), _WRITTEN_TOGETHER):
            await cache.write(bodies[start : start + _WRITTEN_TOGETHER])


def _body_of(request: InferenceRequested) -> CacheEntry:
    return CacheEntry(
        fingerprint=request.fingerprint,
        tenant=request.tenant,
        request_id=request.request_id,
        operation=request.operation,
        response=_ANSWER,
        stored_at=request.accepted_at,
    )


def _turned(vector: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """A vector some way towards another that is perpendicular to it."""
    across = rng.normal(size=len(vector))
    across -= (across @ vector) * vector
    across /= np.linalg.norm(across)
    angle = rng.uniform(_LEAST_TURN, _MOST_TURN)
    turned: NDArray[np.float32] = np.cos(angle) * vector + np.sin(angle) * across
    return turned.astype(np.float32)
