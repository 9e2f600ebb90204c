"""The endpoints, called as an ASGI application, against a log in memory."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import msgspec
import pytest
from starlette.applications import Starlette

from services.schema_registry import http_requests
from services.schema_registry.app import make_app
from services.schema_registry.decide import Packaged
from services.schema_registry.http_requests import MAX_BODY_BYTES
from services.schema_registry.metrics import RegistryMetrics
from services.schema_registry.parsed_schema import schema_from_registered
from services.schema_registry.registry import Registry
from services.shared.adapters.in_memory_schema_log import InMemorySchemaLog
from services.shared.domain.errors import InvalidConfiguration
from services.shared.ports.schema_log import LoggedRecord


class Answer(msgspec.Struct, frozen=True):
    """An HTTP answer."""

    status: int
    media_type: str
    body: bytes

    @property
    def json(self) -> Any:
        """The body."""
        return msgspec.json.decode(self.body)


class Client:
    """Calls an ASGI application in this process."""

    def __init__(self, app: Starlette) -> None:
        self._app = app

    async def call(self, method: str, path: str, body: Any = None) -> Answer:
        """Call it with a JSON body, or with one given as bytes."""
        raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
        return await self.call_in_chunks(method, path, [raw])

    async def call_in_chunks(
        self, method: str, path: str, chunks: list[bytes | None], *, is_whole: bool = True
    ) -> Answer:
        """Call it with a body in pieces; None = the client goes away.

        Args:
            method: HTTP's method.
            path: Path and query.
            chunks: The pieces.
            is_whole: False = one more piece is announced, and never comes.
        """
        path, _, query = path.partition("?")
        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "raw_path": quote(path).encode(),
            "root_path": "",
            "query_string": query.encode(),
            "headers": [],
        }
        waiting = list(chunks)
        sent: list[Any] = []

        async def receive() -> dict[str, Any]:
            if not waiting:
                await asyncio.Event().wait()
            chunk = waiting.pop(0)
            if chunk is None:
                return {"type": "http.disconnect"}
            return {
                "type": "http.request",
                "body": chunk,
                "more_body": bool(waiting) or not is_whole,
            }

        async def send(message: Any) -> None:
            sent.append(message)

        await self._app(scope, receive, send)
        headers = dict(sent[0]["headers"])
        media_type = headers.get(b"content-type", b"").decode()
        return Answer(sent[0]["status"], media_type, b"".join(m["body"] for m in sent[1:]))


def record(*fields: str) -> str:
    """A schema with required fields of strings."""
    return msgspec.json.encode(
        {
            "type": "record",
            "name": "R",
            "fields": [{"name": name, "type": "string"} for name in fields],
        }
    ).decode()


PACKAGED = [Packaged(record="one", schema_id=5, schema=schema_from_registered(record("a")))]
SUBJECTS = {"ones-value": "one"}


@pytest.fixture
def log() -> InMemorySchemaLog:
    """An empty log."""
    return InMemorySchemaLog()


@pytest.fixture
def registry(log: InMemorySchemaLog) -> Registry:
    """A registry that is not open yet."""
    return Registry(log, packaged=PACKAGED, subjects=SUBJECTS)


@pytest.fixture
async def client(registry: Registry) -> Client:
    """The endpoints of the opened registry."""
    await registry.open()
    return Client(make_app(registry, RegistryMetrics()))


def proposal(*fields: str) -> dict[str, str]:
    """The body of a registration."""
    return {"schema": record(*fields)}


async def test_packaged_schemas_are_served_from_the_start(client: Client) -> None:
    """Under their ids, and under the subjects of their topics."""
    by_id = await client.call("GET", "/schemas/ids/5?subject=ones-value")
    assert by_id.status == 200
    assert by_id.media_type == "application/vnd.schemaregistry.v1+json"
    assert by_id.json == {"schema": record("a")}
    latest = await client.call("GET", "/subjects/ones-value/versions/latest")
    expected = {"subject": "ones-value", "version": 1, "id": 5, "schema": record("a")}
    assert latest.json == expected


async def test_registered_schema_is_found_every_way(client: Client) -> None:
    """By id, by version, by subject and by itself."""
    registered = await client.call("POST", "/subjects/s/versions?normalize=False", proposal("b"))
    assert registered.status == 200
    schema_id = registered.json["id"]
    entry = {"subject": "s", "version": 1, "id": schema_id, "schema": record("b")}
    found = {
        f"/schemas/ids/{schema_id}": {"schema": record("b")},
        f"/schemas/ids/{schema_id}/schema": msgspec.json.decode(record("b")),
        f"/schemas/ids/{schema_id}/subjects": ["s"],
        f"/schemas/ids/{schema_id}/versions": [{"subject": "s", "version": 1}],
        "/subjects": ["ones-value", "s"],
        "/subjects?subjectPrefix=on": ["ones-value"],
        "/subjects/s/versions": [1],
        "/subjects/s/versions/1": entry,
        "/subjects/s/versions/-1": entry,
        "/subjects/s/versions/1/schema": msgspec.json.decode(record("b")),
        "/subjects/s/versions/1/referencedby": [],
    }
    for path, expected in found.items():
        assert (await client.call("GET", path)).json == expected
    looked_up = await client.call(
        "POST", "/subjects/s?normalize=False&deleted=False", proposal("b")
    )
    assert looked_up.json == entry


async def test_schema_written_otherwise_is_the_same_schema(client: Client) -> None:
    """White space, order of keys and docs make no new version and no new id."""
    document = msgspec.json.decode(record("a"))
    otherwise = {"doc": "d", "fields": document["fields"], "name": "R", "type": "record"}
    text = msgspec.json.format(msgspec.json.encode(otherwise)).decode()
    answer = await client.call("POST", "/subjects/ones-value/versions", {"schema": text})
    assert answer.json == {"id": 5, "version": 1}


async def test_deleted_subject_is_hidden_and_then_erased(client: Client) -> None:
    """Hidden: gone from lists, still served by id. Erased: gone."""
    schema_id = (await client.call("POST", "/subjects/s/versions", proposal("b"))).json["id"]
    assert (await client.call("DELETE", "/subjects/s")).json == [1]
    assert (await client.call("GET", "/subjects")).json == ["ones-value"]
    assert (await client.call("GET", "/subjects?deleted=true")).json == ["ones-value", "s"]
    assert (await client.call("GET", "/subjects?deletedOnly=true")).json == ["s"]
    assert (await client.call("GET", "/subjects/s/versions")).json["error_code"] == 40401
    assert (await client.call("GET", "/subjects/s/versions?deleted=true")).json == [1]
    assert (await client.call("GET", "/subjects/s/versions?deletedOnly=true")).json == [1]
    assert (await client.call("GET", "/subjects/s/versions/1?deleted=true")).status == 200
    assert (await client.call("GET", f"/schemas/ids/{schema_id}/versions")).json == []
    assert (await client.call("GET", f"/schemas/ids/{schema_id}")).status == 200
    assert (await client.call("DELETE", "/subjects/s?permanent=true")).json == [1]
    assert (await client.call("GET", f"/schemas/ids/{schema_id}")).json["error_code"] == 40403


async def test_deleted_version_is_hidden_and_then_erased(client: Client) -> None:
    """The answer is its number."""
    await client.call("PUT", "/config/s", {"compatibility": "NONE"})
    await client.call("POST", "/subjects/s/versions", proposal("b"))
    await client.call("POST", "/subjects/s/versions", proposal("c"))
    assert (await client.call("DELETE", "/subjects/s/versions/latest")).json == 2
    assert (await client.call("GET", "/subjects/s/versions")).json == [1]
    assert (await client.call("DELETE", "/subjects/s/versions/2?permanent=true")).json == 2


async def test_incompatible_schema_is_refused_and_says_where(client: Client) -> None:
    """409 with the path; the check without registering agrees."""
    answer = await client.call("POST", "/subjects/ones-value/versions", proposal("a", "b"))
    assert answer.status == 409
    assert answer.json["error_code"] == 409
    assert "R.b: the writer lacks the field and it has no default" in answer.json["message"]
    for path in ("/versions", "/versions/latest", "/versions/1"):
        url = f"/compatibility/subjects/ones-value{path}"
        verdict = await client.call("POST", f"{url}?verbose=True", proposal("a", "b"))
        message = "R.b: the writer lacks the field and it has no default"
        assert verdict.json == {"is_compatible": False, "messages": [message]}
        assert (await client.call("POST", url, proposal())).json == {"is_compatible": True}


async def test_level_is_set_and_erased(client: Client) -> None:
    """The general one, and a subject's own."""
    assert (await client.call("GET", "/config")).json == {"compatibilityLevel": "BACKWARD"}
    assert (await client.call("GET", "/config/s")).json["error_code"] == 40408
    answer = await client.call("PUT", "/config", {"compatibilityLevel": "FULL"})
    assert answer.json == {"compatibility": "FULL"}
    own = await client.call("GET", "/config/s?defaultToGlobal=true")
    assert own.json == {"compatibilityLevel": "FULL"}
    await client.call("PUT", "/config/s", {"compatibility": "NONE"})
    assert (await client.call("GET", "/config/s")).json == {"compatibilityLevel": "NONE"}
    assert (await client.call("DELETE", "/config/s")).json == {"compatibilityLevel": "NONE"}
    assert (await client.call("GET", "/config/s")).status == 404
    assert (await client.call("DELETE", "/config")).json == {"compatibilityLevel": "FULL"}
    assert (await client.call("GET", "/config")).json == {"compatibilityLevel": "BACKWARD"}


async def test_what_never_changes_is_answered(client: Client) -> None:
    """The root, the kinds of schemas, the mode."""
    assert (await client.call("GET", "/")).json == {}
    assert (await client.call("GET", "/schemas/types")).json == ["AVRO"]
    assert (await client.call("GET", "/mode")).json == {"mode": "READWRITE"}
    assert (await client.call("GET", "/mode/s?defaultToGlobal=true")).json == {"mode": "READWRITE"}


LONG = '"long"'
DEEP = b'{"schema":' + b"[" * 100_000
REFUSED: list[tuple[str, str, Any, int, int]] = [
    ("GET", "/mode/s", None, 404, 40409),
    ("GET", "/associations/resources/-/t?resourceType=topic", None, 404, 404),
    ("GET", "/schemas/guids/x", None, 404, 404),
    ("PUT", "/mode", {"mode": "READONLY"}, 405, 405),
    ("GET", "/schemas/ids/6", None, 404, 40403),
    ("GET", "/schemas/ids/x", None, 400, 400),
    ("GET", "/schemas/ids/99999999999", None, 400, 400),
    ("GET", "/schemas/ids/6/schema", None, 404, 40403),
    ("GET", "/schemas/ids/6/subjects", None, 404, 40403),
    ("GET", "/schemas/ids/6/versions", None, 404, 40403),
    ("GET", "/subjects/s/versions", None, 404, 40401),
    ("GET", "/subjects/s/versions/1", None, 404, 40401),
    ("GET", "/subjects/ones-value/versions/2", None, 404, 40402),
    ("GET", "/subjects/ones-value/versions/0", None, 422, 42202),
    ("GET", "/subjects/ones-value/versions/2/schema", None, 404, 40402),
    ("GET", "/subjects/ones-value/versions/2/referencedby", None, 404, 40402),
    ("POST", "/subjects/s", {"schema": LONG}, 404, 40401),
    ("POST", "/subjects/ones-value", {"schema": LONG}, 404, 40403),
    ("POST", "/subjects/ones-value/versions", b"not json", 400, 400),
    ("POST", "/subjects/ones-value/versions", b"", 400, 400),
    ("POST", "/subjects/ones-value/versions", DEEP, 400, 400),
    ("POST", "/subjects/ones-value/versions", [], 400, 400),
    ("POST", "/subjects/ones-value/versions", {}, 400, 400),
    ("POST", "/subjects/ones-value/versions", {"schema": 3}, 400, 400),
    ("POST", "/subjects/ones-value/versions", {"schema": ""}, 422, 42201),
    ("POST", "/subjects/ones-value/versions", {"schema": "strange"}, 422, 42201),
    ("POST", "/subjects/s/versions", {"schema": LONG, "schemaType": "JSON"}, 422, 42201),
    ("POST", "/subjects/s/versions", {"schema": LONG, "references": [{}]}, 422, 422),
    ("POST", "/subjects/s/versions", {"schema": LONG, "metadata": {"a": 1}}, 422, 422),
    ("POST", "/subjects/s/versions", {"schema": LONG, "ruleSet": {"a": 1}}, 422, 422),
    ("POST", "/subjects/a\nb/versions", {"schema": LONG}, 422, 42208),
    ("POST", "/compatibility/subjects/s/versions/1", {"schema": LONG}, 404, 40401),
    ("POST", "/compatibility/subjects/s/versions/x", {"schema": LONG}, 422, 42202),
    ("POST", "/compatibility/subjects/s/versions", {"schema": "strange"}, 422, 42201),
    ("DELETE", "/subjects/s", None, 404, 40401),
    ("DELETE", "/subjects/ones-value?permanent=true", None, 404, 40405),
    ("DELETE", "/subjects/ones-value/versions/2", None, 404, 40402),
    ("DELETE", "/subjects/ones-value/versions/1?permanent=true", None, 404, 40407),
    ("PUT", "/config", {"compatibility": "SIDEWAYS"}, 422, 42203),
    ("PUT", "/config", {}, 422, 42203),
    ("DELETE", "/config/s", None, 404, 40401),
]


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: f"{case[0]} {case[1]} {case[4]}")
async def test_refusal_has_confluents_code_and_form(
    client: Client, case: tuple[str, str, Any, int, int]
) -> None:
    """Every refusal is an object with a code and a message, of the registry's media type."""
    method, path, body, status, error_code = case
    answer = await client.call(method, path, body)
    assert (answer.status, answer.json["error_code"]) == (status, error_code)
    assert answer.json["message"]
    assert answer.media_type == "application/vnd.schemaregistry.v1+json"


async def test_body_that_is_too_large_is_refused_before_it_is_read_whole(client: Client) -> None:
    """One byte more than 1 MiB, in pieces, with more announced."""
    pieces = [b" " * (MAX_BODY_BYTES // 2)] * 2 + [b" ", b" "]
    answer = await client.call_in_chunks("POST", "/subjects/s/versions", [*pieces])
    assert (answer.status, answer.json["error_code"]) == (413, 413)


async def test_body_that_is_cut_off_is_refused(client: Client) -> None:
    """A client that goes away leaves nothing behind."""
    answer = await client.call_in_chunks("POST", "/subjects/s/versions", [b'{"schema', None])
    assert answer.status == 400
    assert (await client.call("GET", "/subjects")).json == ["ones-value"]


async def test_body_that_does_not_end_is_refused(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow client does not hold a connection for ever."""
    monkeypatch.setattr(http_requests, "_BODY_S", 0.01)
    answer = await client.call_in_chunks("POST", "/subjects/s/versions", [b"{"], is_whole=False)
    assert (answer.status, answer.json["error_code"]) == (408, 408)


async def test_nothing_is_answered_before_the_log_was_read(registry: Registry) -> None:
    """An empty answer would be a wrong one."""
    client = Client(make_app(registry, RegistryMetrics()))
    answer = await client.call("GET", "/subjects")
    assert (answer.status, answer.json["error_code"]) == (503, 50301)
    assert (await client.call("GET", "/livez")).status == 200
    assert (await client.call("GET", "/readyz")).status == 503
    await registry.open()
    assert (await client.call("GET", "/readyz")).status == 200


async def test_without_the_log_reads_go_on_and_writes_are_refused(
    client: Client, log: InMemorySchemaLog
) -> None:
    """503 tells the client to come again; nothing is half registered."""
    log.is_reachable = False
    assert (await client.call("GET", "/schemas/ids/5")).status == 200
    answer = await client.call("POST", "/subjects/s/versions", proposal("b"))
    assert (answer.status, answer.json["error_code"]) == (503, 50301)
    log.is_reachable = True
    assert (await client.call("GET", "/subjects")).json == ["ones-value"]
    assert (await client.call("POST", "/subjects/s/versions", proposal("b"))).status == 200


async def test_simultaneous_registrations_get_different_versions(client: Client) -> None:
    """Writes wait for each other; equal ones become one."""
    await client.call("PUT", "/config/s", {"compatibility": "NONE"})
    names = [f"f{n % 5}" for n in range(20)]
    answers = await asyncio.gather(
        *(client.call("POST", "/subjects/s/versions", proposal(name)) for name in names)
    )
    versions = {name: answer.json["version"] for name, answer in zip(names, answers, strict=True)}
    assert sorted(versions.values()) == [1, 2, 3, 4, 5]
    assert len({answer.json["id"] for answer in answers}) == 5


async def test_restarted_registry_knows_what_was_registered() -> None:
    """All state is in the log; a second start adds nothing to it."""
    records: list[LoggedRecord] = []
    first = Registry(InMemorySchemaLog(records), packaged=PACKAGED, subjects=SUBJECTS)
    await first.open()
    client = Client(make_app(first, RegistryMetrics()))
    registered = await client.call("POST", "/subjects/s/versions", proposal("b"))
    count = len(records)
    second = Registry(InMemorySchemaLog(records), packaged=PACKAGED, subjects=SUBJECTS)
    await second.open()
    client = Client(make_app(second, RegistryMetrics()))
    again = await client.call("POST", "/subjects/s/versions", proposal("b"))
    assert again.json == registered.json
    assert len(records) == count


async def test_metrics_count_answers_by_route(client: Client) -> None:
    """A route is a label, what was asked for is not."""
    await client.call("GET", "/schemas/ids/5")
    await client.call("GET", "/schemas/ids/6")
    text = (await client.call("GET", "/metrics")).body.decode()
    for status in (200, 404):
        labels = f'method="GET",path="/schemas/ids/{{id}}",status="{status}"'
        assert f"millrace_schema_registry_requests_total{{{labels}}} 1.0" in text
    assert "millrace_schema_registry_subjects 1.0" in text
    assert "millrace_schema_registry_versions 1.0" in text


async def wait_until(condition: Callable[[], bool]) -> None:
    """Let other tasks run until a condition holds; the test's time limit ends it otherwise."""
    while not condition():  # noqa: ASYNC110 - the conditions are about state, which has no events
        await asyncio.sleep(0)


async def test_registry_follows_its_log(
    registry: Registry,
    log: InMemorySchemaLog,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It waits for the log, hears what others write, and passes over what is none of its own."""
    monkeypatch.setattr("services.schema_registry.registry._RETRY_S", 0.001)
    monkeypatch.setattr("services.schema_registry.registry._FOLLOW_S", 0.001)
    log.is_reachable = False
    stopping = asyncio.Event()
    running = asyncio.create_task(registry.run(stopping))
    await wait_until(lambda: "waiting for the log" in caplog.text)
    log.is_reachable = True
    await wait_until(lambda: registry.is_ready)
    await log.append(LoggedRecord(b"strange", b"strange"))
    await log.append(
        LoggedRecord(
            b'{"keytype":"CONFIG","subject":"s","magic":0}', b'{"compatibilityLevel":"NONE"}'
        )
    )
    await wait_until(lambda: registry.state.own_level("s") is not None)
    assert [r.levelno for r in caplog.records if "passing over" in r.message] == [logging.WARNING]
    log.is_reachable = False
    await wait_until(lambda: caplog.text.count("waiting for the log") == 2)
    stopping.set()
    await running


async def test_log_of_another_registry_ends_the_registry(registry: Registry) -> None:
    """A packaged id that is another schema's is for people to solve."""
    theirs = b'{"subject":"x","version":1,"id":5,"schema":"\\"long\\"","deleted":false}'
    key = b'{"keytype":"SCHEMA","subject":"x","version":1,"magic":1}'
    log = InMemorySchemaLog([LoggedRecord(key, theirs)])
    foreign = Registry(log, packaged=PACKAGED, subjects=SUBJECTS)
    with pytest.raises(InvalidConfiguration):
        await foreign.run(asyncio.Event())
    assert not foreign.is_ready
