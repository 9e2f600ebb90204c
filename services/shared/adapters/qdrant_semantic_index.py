"""The semantic index in a Qdrant server, for more entries than a process should hold.

Each build of the encoder has a collection of its own, since its vectors compare with no others, and
is reached by an alias, so that an operator may put another collection in its place. All processes
write the same points there, so each write may come more than once.
"""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import msgspec
import numpy as np
from qdrant_client import AsyncQdrantClient, models
from qdrant_client.http.exceptions import ApiException, UnexpectedResponse

from services.shared.adapters.resting import Resting
from services.shared.domain.errors import Unavailable
from services.shared.domain.events import AnswerCached, SemanticKey
from services.shared.ports.clock import Clock
from services.shared.ports.encoder import Encoder
from services.shared.ports.semantic_index import Near

READ_S = 0.04
"""Longest query; a look-up has 50 ms for all it does."""

_WRITE_S = 10.0
_NAMESPACE = uuid.UUID("6f0c3b1e-8a55-4f0e-9d5e-3c1f2b7a9d10")
_LAYOUT = "v1"  # of the payload
_CONFLICT = 409
_SLACK = 16  # a scope is counted once a sixteenth of what it may hold was put into it

T = TypeVar("T")
_KEYWORD = models.PayloadSchemaType.KEYWORD
_INTEGER = models.PayloadSchemaType.INTEGER
_INDEXES: dict[str, Any] = {
    "scope": models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD, is_tenant=True),
    "tenant": _KEYWORD,
    "entry_id": _KEYWORD,
    "expires_at": _INTEGER,
    "stored_at": _INTEGER,
}


class QdrantSemanticIndex:
    """A ``SemanticIndex``. A server that fails is left alone but for one probe a second."""

    def __init__(  # noqa: PLR0913  # named, one a setting
        self,
        client: AsyncQdrantClient,
        *,
        build: str,
        dimensions: int,
        max_entries: int,
        clock: Clock,
        read_s: float = READ_S,
    ) -> None:
        """Use a client; the collection is made when it is first needed.

        Args:
            client: The client; the owner closes it.
            build: Build of the encoder.
            dimensions: Length of its vectors.
            max_entries: Of one scope; for a while a sixteenth more.
            clock: For the pause after failures.
            read_s: Longest query, seconds.
        """
        self._client = client
        self._dimensions = dimensions
        self._max_entries = max_entries
        self._read_s = read_s
        self._alias = f"millrace-semantic-{build}"
        self._collection = f"{self._alias}-{_LAYOUT}"
        self._making: asyncio.Task[None] | None = None
        self._resting = Resting("qdrant", clock=clock)
        self._put_since_count: dict[str, int] = {}

    async def put(self, entries: Sequence[AnswerCached]) -> None:
        """Add entries."""
        points = {
            point_id: (entry, entry.semantic)
            for entry in entries
            if entry.semantic is not None and self._fits(entry.semantic)
            for point_id in (_point_id(entry.semantic.scope, entry.fingerprint),)
        }
        if not points:
            return
        operations: list[models.UpdateOperation] = [
            models.DeleteOperation(delete=_elsewhere(points)),
            models.UpsertOperation(
                upsert=models.PointsList(
                    points=[
                        models.PointStruct(id=point_id, vector=_vector(key), payload=_payload(it))
                        for point_id, (it, key) in points.items()
                    ]
                )
            ),
        ]
        await self._bounded(
            lambda: self._client.batch_update_points(self._alias, operations, wait=True), _WRITE_S
        )
        for scope in {key.scope for _, key in points.values()}:
            put = sum(key.scope == scope for _, key in points.values())
            await self._bound_scope(scope, put)

    async def remove(self, entry_ids: Sequence[str]) -> None:
        """Remove entries."""
        if entry_ids:
            those = models.Filter(must=[_any("entry_id", entry_ids)])
            await self._bounded(
                lambda: self._client.delete(
                    self._alias, models.FilterSelector(filter=those), wait=True
                ),
                _WRITE_S,
            )

    async def nearest(
        self, keys: Sequence[SemanticKey], *, most: int, now_ms: float
    ) -> Sequence[Sequence[Near]]:
        """The closest entries of each key's scope; what comes back is checked again."""
        fitting = [key for key in keys if self._fits(key)]
        found: dict[int, Sequence[Near]] = {}
        if fitting:
            requests = [
                models.QueryRequest(
                    query=_vector(key),
                    filter=models.Filter(
                        must=[_is("scope", key.scope), _after("expires_at", now_ms)]
                    ),
                    limit=most,
                    with_payload=True,
                )
                for key in fitting
            ]
            answers = await self._bounded(
                lambda: self._client.query_batch_points(self._alias, requests), self._read_s
            )
            found = {
                id(key): _nears(answer.points, key, now_ms)
                for key, answer in zip(fitting, answers, strict=True)
            }
        return [found.get(id(key), ()) for key in keys]

    def _fits(self, key: SemanticKey) -> bool:
        return len(key.vector) == 2 * self._dimensions

    async def _bound_scope(self, scope: str, put: int) -> None:
        """Delete the oldest of a scope that has grown too large."""
        put += self._put_since_count.get(scope, 0)
        if put <= self._max_entries // _SLACK:
            self._put_since_count[scope] = put
            return
        self._put_since_count.pop(scope, None)
        its = models.Filter(must=[_is("scope", scope)])
        counted = await self._bounded(
            lambda: self._client.count(self._alias, count_filter=its, exact=True), _WRITE_S
        )
        excess = counted.count - self._max_entries
        if excess <= 0:
            return
        oldest, _ = await self._bounded(
            lambda: self._client.scroll(
                self._alias,
                scroll_filter=its,
                limit=excess,
                order_by=models.OrderBy(key="stored_at", direction=models.Direction.ASC),
                with_payload=False,
            ),
            _WRITE_S,
        )
        ids = models.PointIdsList(points=[record.id for record in oldest])
        await self._bounded(lambda: self._client.delete(self._alias, ids, wait=True), _WRITE_S)

    # -- the server ------------------------------------------------------------------------------

    async def _bounded(self, call: Callable[[], Awaitable[T]], within_s: float) -> T:
        self._resting.check()
        try:
            async with asyncio.timeout(within_s):
                await self._made()
                result = await call()
        except (ApiException, OSError, TimeoutError) as error:
            self._resting.failed()
            raise Unavailable("qdrant", type(error).__name__) from error
        self._resting.answered()
        return result

    async def _made(self) -> None:
        """Make the collection, once; who cannot wait for it leaves it to go on."""
        if self._making is None:
            self._making = asyncio.create_task(self._make())
            self._making.add_done_callback(self._is_made)
        await asyncio.shield(self._making)

    def _is_made(self, making: asyncio.Task[None]) -> None:
        """Let the next call try again where it failed, whether or not somebody waited for it."""
        if making.cancelled() or making.exception() is not None:
            self._making = None

    async def _make(self) -> None:
        client, collection = self._client, self._collection
        if not await client.collection_exists(collection):
            vectors = models.VectorParams(
                size=self._dimensions,
                distance=models.Distance.COSINE,
                datatype=models.Datatype.FLOAT16,
            )
            try:
                await client.create_collection(collection, vectors_config=vectors)
            except UnexpectedResponse as error:
                if error.status_code != _CONFLICT:  # another process was quicker
                    raise
        for field, schema in _INDEXES.items():
            await client.create_payload_index(collection, field, field_schema=schema, wait=True)
        aliases = (await client.get_aliases()).aliases
        if all(it.alias_name != self._alias for it in aliases):
            naming = models.CreateAlias(collection_name=collection, alias_name=self._alias)
            await client.update_collection_aliases(
                [models.CreateAliasOperation(create_alias=naming)]
            )


@asynccontextmanager
async def qdrant_index(
    url: str, *, api_key: str, encoder: Encoder, max_entries: int, clock: Clock
) -> AsyncIterator[QdrantSemanticIndex]:
    """An index on a server.

    Args:
        url: Where it is, e.g. ``http://127.0.0.1:6333``.
        api_key: Its key; empty = none.
        encoder: Whose vectors are compared.
        max_entries: Of one scope.
        clock: The time.
    """
    client = AsyncQdrantClient(
        url=url, api_key=api_key or None, timeout=int(_WRITE_S), check_compatibility=False
    )
    try:
        yield QdrantSemanticIndex(
            client,
            build=encoder.build,
            dimensions=encoder.dimensions,
            max_entries=max_entries,
            clock=clock,
        )
    finally:
        await client.close()


def _point_id(scope: str, fingerprint: str) -> str:
    return str(uuid.uuid5(_NAMESPACE, f"{scope}/{fingerprint}"))


def _vector(key: SemanticKey) -> list[float]:
    vector: list[float] = np.frombuffer(key.vector, "<f2").astype(np.float32).tolist()
    return vector


def _payload(entry: AnswerCached) -> dict[str, Any]:
    key = entry.semantic
    bare = None if key is None else msgspec.structs.replace(key, vector=b"")
    return {
        "scope": "" if key is None else key.scope,
        "tenant": entry.tenant,
        "entry_id": entry.entry_id,
        "expires_at": entry.expires_at,
        "stored_at": entry.stored_at,
        "entry": msgspec.json.encode(msgspec.structs.replace(entry, semantic=bare)).decode(),
    }


def _elsewhere(points: dict[str, tuple[AnswerCached, SemanticKey]]) -> models.FilterSelector:
    """Points of the same entries under another question."""
    ids = [entry.entry_id for entry, _ in points.values()]
    return models.FilterSelector(
        filter=models.Filter(
            must=[_any("entry_id", ids)],
            must_not=[models.HasIdCondition(has_id=list(points))],
        )
    )


def _nears(points: Sequence[models.ScoredPoint], key: SemanticKey, now_ms: float) -> Sequence[Near]:
    nears = []
    for point in points:
        entry = _entry_of(point.payload or {})
        if entry is None or entry.semantic is None or entry.expires_at <= now_ms:
            continue
        if (entry.semantic.scope, entry.semantic.encoder) == (key.scope, key.encoder):
            nears.append(Near(entry, min(1.0, max(-1.0, point.score))))
    return sorted(nears, key=lambda near: -near.similarity)


def _entry_of(payload: dict[str, Any]) -> AnswerCached | None:
    """The entry of a point; None where something else was written there."""
    try:
        return msgspec.json.decode(payload.get("entry", ""), type=AnswerCached)
    except (msgspec.DecodeError, TypeError):
        return None


def _is(field: str, value: str) -> models.FieldCondition:
    return models.FieldCondition(key=field, match=models.MatchValue(value=value))


def _any(field: str, values: Sequence[str]) -> models.FieldCondition:
    return models.FieldCondition(key=field, match=models.MatchAny(any=list(values)))


def _after(field: str, value: float) -> models.FieldCondition:
    return models.FieldCondition(key=field, range=models.Range(gt=value))
