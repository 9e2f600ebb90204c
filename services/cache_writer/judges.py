"""Compares fresh answers with those of candidates: what the verified mode learns from."""

from collections import OrderedDict
from collections.abc import Sequence

import msgspec
from prometheus_client import CollectorRegistry, Counter

from services.cache_writer.judging import (
    ALIKE,
    Compare,
    NoCandidate,
    differs_in_substance,
    is_same_text,
    judgement,
    lesson_of,
)
from services.shared.codec.records import decode_record
from services.shared.domain.answer_text import answer_text
from services.shared.domain.configuration_semantic import SemanticMode
from services.shared.domain.emit import Emit
from services.shared.domain.errors import PoisonRecord, Unavailable
from services.shared.domain.events import CacheEntry, InferenceFinished
from services.shared.domain.semantic_modes import SemanticModes
from services.shared.domain.topics import Topic
from services.shared.ports.encoder import Encoder
from services.shared.ports.response_cache import ResponseCache

_MOST_TENANTS = 10_000


class _Pair(msgspec.Struct, eq=False):
    place: int
    finished: InferenceFinished
    compare: Compare
    fresh: str = ""
    cached: str = ""
    is_right: bool = False


class Judges:
    """Makes judgements of the requests of a poll whose alias is in the verified mode."""

    def __init__(
        self,
        *,
        cache: ResponseCache,
        modes: SemanticModes,
        encoder: Encoder,
        registry: CollectorRegistry,
    ) -> None:
        """Use the exact cache, which has the answers of candidates, and an encoder.

        Args:
            cache: Holds answers.
            modes: Modes by alias.
            encoder: Tells whether two answers say the same in other words.
            registry: Where metrics go.
        """
        self._cache = cache
        self._modes = modes
        self._encoder = encoder
        self._without_candidate: OrderedDict[str, int] = OrderedDict()
        self._judged = Counter(
            "millrace_cache_judgements",
            "Candidates by what came of comparing them: right, wrong, or gone (no answer to "
            "compare with).",
            ("verdict",),
            registry=registry,
        )

    async def judge(self, ended: Sequence[InferenceFinished]) -> list[list[Emit]]:
        """The judgements of requests that ended, in their order.

        A candidate whose answer is gone, or cannot be read now, makes none.
        """
        emits: list[list[Emit]] = [[] for _ in ended]
        lessons = [self._lesson(finished) for finished in ended]
        pairs = await self._pairs(ended, lessons)
        await self._compare(list(pairs.values()))
        for place, (finished, lesson) in enumerate(zip(ended, lessons, strict=True)):
            if isinstance(lesson, NoCandidate):
                self._count(finished.tenant)
            elif place in pairs:
                emits[place].append(self._emit(pairs[place]))
        return emits

    def _lesson(self, finished: InferenceFinished) -> NoCandidate | Compare | None:
        if self._modes.of(finished.model) is not SemanticMode.VERIFIED:
            return None
        return lesson_of(finished)

    async def _pairs(
        self, ended: Sequence[InferenceFinished], lessons: Sequence[NoCandidate | Compare | None]
    ) -> dict[int, _Pair]:
        """What can be compared, by place."""
        pairs = [
            _Pair(place, finished, lesson)
            for place, (finished, lesson) in enumerate(zip(ended, lessons, strict=True))
            if isinstance(lesson, Compare)
        ]
        if not pairs:
            return {}
        keys = list(dict.fromkeys(pair.compare.fingerprint for pair in pairs))
        try:
            values = dict(zip(keys, await self._cache.read(keys), strict=True))
        except Unavailable:
            values = dict.fromkeys(keys)
        for pair in pairs:
            finished = pair.finished
            pair.fresh = answer_text(finished.operation, finished.response)
            pair.cached = _cached_text(finished, values[pair.compare.fingerprint])
        found = {pair.place: pair for pair in pairs if pair.cached and pair.fresh}
        self._judged.labels("gone").inc(len(pairs) - len(found))
        return found

    async def _compare(self, pairs: Sequence[_Pair]) -> None:
        """Judge; what is in doubt is wrong."""
        doubtful = []
        for pair in pairs:
            pair.is_right = is_same_text(pair.fresh, pair.cached)
            if not pair.is_right and not differs_in_substance(pair.fresh, pair.cached):
                doubtful.append(pair)
        knows = self._encoder.knows
        doubtful = [pair for pair in doubtful if knows(pair.fresh) and knows(pair.cached)]
        if not doubtful:
            return
        texts = [text for pair in doubtful for text in (pair.fresh, pair.cached)]
        try:
            vectors = await self._encoder.encode(texts)
        except Unavailable:
            return
        for number, pair in enumerate(doubtful):
            pair.is_right = float(vectors[2 * number] @ vectors[2 * number + 1]) >= ALIKE

    def _emit(self, pair: _Pair) -> Emit:
        self._judged.labels("right" if pair.is_right else "wrong").inc()
        judged = judgement(
            pair.finished,
            pair.compare,
            is_right=pair.is_right,
            without_candidate=self._without_candidate.pop(pair.finished.tenant, 0),
        )
        return Emit(topic=Topic.CACHE_JUDGEMENTS, key=judged.tenant, event=judged)

    def _count(self, tenant: str) -> None:
        self._without_candidate[tenant] = self._without_candidate.pop(tenant, 0) + 1
        if len(self._without_candidate) > _MOST_TENANTS:
            self._without_candidate.popitem(last=False)


def _cached_text(finished: InferenceFinished, value: bytes | None) -> str:
    """The text of a candidate's answer; empty when it is gone, or not of the same tenant."""
    if value is None:
        return ""
    try:
        entry = decode_record(value, CacheEntry)
    except PoisonRecord:
        return ""
    if (entry.tenant, entry.request_id) != (finished.tenant, finished.cache.candidate_id):
        return ""
    return answer_text(entry.operation, entry.response)
