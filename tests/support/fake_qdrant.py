"""The part of Qdrant's REST interface that our index calls, on loopback, in memory.

No Qdrant server can be had where the tests run. This one was written from the client's own requests
and the server's published reference: it refuses what the server refuses (vectors of another length,
ordering by a field without an index, a collection made twice) and answers 400 to any condition and
404 to any endpoint that it does not know, so that nothing passes by being ignored.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
from aiohttp import web


class Collection:
    """Points of one length, with their payloads."""

    def __init__(self, config: dict[str, Any]) -> None:
        """Start empty."""
        self.size: int = config["vectors"]["size"]
        assert config["vectors"]["distance"] == "Cosine"
        self.indexes: dict[str, Any] = {}
        self.points: dict[str, tuple[Any, dict[str, Any]]] = {}


class FakeQdrant:
    """A server.

    Attributes:
        collections: By name.
        aliases: Collections by alias.
        hangs: It takes requests and does not answer.
        fails: It answers 500.
        calls: Method and path of each request.
        url: Where it is.
    """

    def __init__(self) -> None:
        """Start empty."""
        self.collections: dict[str, Collection] = {}
        self.aliases: dict[str, str] = {}
        self.hangs = False
        self.fails = False
        self.calls: list[str] = []
        self.url = ""

    def application(self) -> web.Application:
        """Its endpoints."""
        app = web.Application()
        named = "/collections/{name}"
        for method, path, handler in (
            ("GET", f"{named}/exists", self._exists),
            ("PUT", named, self._create),
            ("PUT", f"{named}/index", self._index),
            ("GET", "/aliases", self._aliases),
            ("POST", "/collections/aliases", self._update_aliases),
            ("POST", f"{named}/points/batch", self._batch),
            ("POST", f"{named}/points/delete", self._delete),
            ("POST", f"{named}/points/count", self._count),
            ("POST", f"{named}/points/scroll", self._scroll),
            ("POST", f"{named}/points/query/batch", self._query),
        ):
            app.router.add_route(method, path, self._answering(handler))
        return app

    def _answering(self, handler: Callable[[str, Any], Any]) -> Any:
        async def answer(request: web.Request) -> web.Response:
            self.calls.append(f"{request.method} {request.path}")
            if self.hangs:
                await asyncio.Event().wait()
            if self.fails:
                return web.json_response({"status": {"error": "broken"}}, status=500)
            body = await request.json() if request.can_read_body else None
            try:
                result = handler(request.match_info.get("name", ""), body)
            except _Refused as refused:
                error = {"status": {"error": str(refused)}, "time": 0.0}
                return web.json_response(error, status=refused.status)
            return web.json_response({"result": result, "status": "ok", "time": 0.0})

        return answer

    def _of(self, name: str) -> Collection:
        found = self.collections.get(self.aliases.get(name, name))
        if found is None:
            raise _Refused(404, f"Collection `{name}` doesn't exist!")
        return found

    def _exists(self, name: str, _body: Any) -> Any:
        return {"exists": name in self.collections}

    def _create(self, name: str, body: Any) -> Any:
        if name in self.collections:
            raise _Refused(409, f"Collection `{name}` already exists!")
        self.collections[name] = Collection(body)
        return True

    def _index(self, name: str, body: Any) -> Any:
        self._of(name).indexes[body["field_name"]] = body["field_schema"]
        return _DONE

    def _aliases(self, _name: str, _body: Any) -> Any:
        named = self.aliases.items()
        return {"aliases": [{"alias_name": it, "collection_name": of} for it, of in named]}

    def _update_aliases(self, _name: str, body: Any) -> Any:
        for action in body["actions"]:
            (made,) = action.values()
            assert list(action) == ["create_alias"]
            self.aliases[made["alias_name"]] = made["collection_name"]
        return True

    def _batch(self, name: str, body: Any) -> Any:
        results = []
        for operation in body["operations"]:
            ((kind, content),) = operation.items()
            if kind == "upsert":
                self._upsert(self._of(name), content)
            elif kind == "delete":
                self._delete(name, content)
            else:
                raise _Refused(400, f"unknown operation {kind}")
            results.append(_DONE)
        return results

    def _upsert(self, collection: Collection, content: Any) -> None:
        for point in content["points"]:
            if len(point["vector"]) != collection.size:
                raise _Refused(400, "Wrong input: Vector dimension error")
        for point in content["points"]:
            vector = np.asarray(point["vector"], np.float16).astype(np.float32)
            collection.points[point["id"]] = (
                vector / np.linalg.norm(vector),
                point["payload"],
            )

    def _delete(self, name: str, body: Any) -> Any:
        points = self._of(name).points
        doomed = body["points"] if "points" in body else _those(points, body["filter"])
        for point_id in list(doomed):
            points.pop(point_id, None)
        return _DONE

    def _count(self, name: str, body: Any) -> Any:
        return {"count": len(_those(self._of(name).points, body["filter"]))}

    def _scroll(self, name: str, body: Any) -> Any:
        collection = self._of(name)
        field = body["order_by"]["key"]
        if collection.indexes.get(field) not in ("integer", "float", "datetime"):
            raise _Refused(400, f"No range index for `order_by` key: `{field}`.")
        found = _those(collection.points, body["filter"])
        found.sort(key=lambda it: collection.points[it][1][field])
        points = [{"id": it} for it in found[: body["limit"]]]
        return {"points": points, "next_page_offset": None}

    def _query(self, name: str, body: Any) -> Any:
        collection = self._of(name)
        answers = []
        for search in body["searches"]:
            query = np.asarray(search["query"]["nearest"], np.float32)
            if len(query) != collection.size:
                raise _Refused(400, "Wrong input: Vector dimension error")
            query /= np.linalg.norm(query)
            scored = [
                {
                    "id": it,
                    "version": 0,
                    "score": float(collection.points[it][0] @ query),
                    "payload": collection.points[it][1] if search["with_payload"] else None,
                }
                for it in _those(collection.points, search["filter"])
            ]
            scored.sort(key=lambda it: -it["score"])
            answers.append({"points": scored[: search["limit"]]})
        return answers


class _Refused(Exception):
    """The server's error."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


_DONE = {"operation_id": 0, "status": "completed"}


def _those(points: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    """Ids of the points that a filter holds for."""
    if set(wanted) - {"must", "must_not"}:
        raise _Refused(400, f"unknown filter {sorted(wanted)}")
    return [
        point_id
        for point_id, (_, payload) in points.items()
        if all(_holds(it, point_id, payload) for it in wanted.get("must", ()))
        and not any(_holds(it, point_id, payload) for it in wanted.get("must_not", ()))
    ]


def _holds(condition: dict[str, Any], point_id: str, payload: dict[str, Any]) -> bool:
    match condition:
        case {"has_id": ids}:
            return point_id in ids
        case {"key": key, "match": {"value": value}}:
            return bool(payload.get(key) == value)
        case {"key": key, "match": {"any": values}}:
            return payload.get(key) in values
        case {"key": key, "range": {"gt": bound}}:
            return bool(payload[key] > bound)
    raise _Refused(400, f"unknown condition {condition}")


@asynccontextmanager
async def fake_qdrant() -> AsyncIterator[FakeQdrant]:
    """A server on a free port of loopback."""
    server = FakeQdrant()
    runner = web.AppRunner(server.application(), shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    server.url = f"http://127.0.0.1:{port}"
    try:
        yield server
    finally:
        await runner.cleanup()
