"""The models that an endpoint lists."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from services.shared.adapters import openai_model_list
from services.shared.adapters.openai_model_list import listed_models, served_models
from services.shared.domain.errors import InvalidConfiguration

Endpoint = Callable[[web.Request], Awaitable[web.StreamResponse]]
Serve = Callable[[Endpoint], Awaitable[str]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Starts an endpoint whose ``/v1/models`` is a function; returns its base URL."""
    servers: list[TestServer] = []

    async def start(answer: Endpoint) -> str:
        application = web.Application()
        application.router.add_get("/v1/models", answer)
        server = TestServer(application, host="127.0.0.1")
        servers.append(server)
        await server.start_server()
        return str(server.make_url("/v1"))

    yield start
    for server in servers:
        await server.close()


def answering(document: object, *, status: int = 200) -> Endpoint:
    """An endpoint that always answers with a JSON document."""

    async def answer(_request: web.Request) -> web.Response:
        return web.json_response(document, status=status)

    return answer


async def test_the_listed_names_are_served_sorted_and_once(serve: Serve) -> None:
    """Names that could not be aliases are left out."""
    ids = ["gpt-4o", "ada", "two words", "ada", "", "ft:gpt-4o:org::id"]
    url = await serve(answering({"data": [{"id": each, "object": "model"} for each in ids]}))
    names = await listed_models(url, api_key="sk-1", environ={})
    assert names == ("ada", "ft:gpt-4o:org::id", "gpt-4o")


async def test_the_key_is_sent_as_a_bearer(serve: Serve) -> None:
    """The endpoint sees the key, without the line end that files leave behind."""
    seen = []

    async def answer(request: web.Request) -> web.Response:
        seen.append(request.headers["authorization"])
        return web.json_response({"data": [{"id": "m"}]})

    url = await serve(answer)
    await listed_models(url, api_key="sk-1\n", environ={})
    assert seen == ["Bearer sk-1"]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (answering({"error": {}}, status=401), "401"),
        (answering({"data": "x"}), "no list of models"),
        (answering({"data": []}), "lists no model"),
    ],
)
async def test_an_endpoint_that_lists_nothing_is_named_with_the_way_out(
    serve: Serve, answer: Endpoint, words: str
) -> None:
    """Refusals, other documents and empty lists end in an error that offers MILLRACE_MODELS."""
    url = await serve(answer)
    with pytest.raises(InvalidConfiguration, match="MILLRACE_MODELS") as refused:
        await listed_models(url, api_key="sk-hunter2", environ={})
    assert words in str(refused.value)
    assert "hunter2" not in str(refused.value)


async def test_an_endpoint_that_cannot_be_reached_is_named() -> None:
    """Nobody listens on port 1."""
    with pytest.raises(InvalidConfiguration, match=r"http://127\.0\.0\.1:1/v1/models cannot be"):
        await listed_models("http://127.0.0.1:1/v1", api_key="k", environ={})


async def test_an_endless_list_is_cut_off(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """No more than the bound is read."""
    monkeypatch.setattr(openai_model_list, "MAX_LIST_BYTES", 1_000)

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(1_000):
            await response.write(b"x" * 1_000)
        return response

    url = await serve(answer)
    with pytest.raises(InvalidConfiguration, match="longer than 1000 bytes"):
        await listed_models(url, api_key="k", environ={})


async def test_a_bundle_that_is_none_is_named(tmp_path: Path) -> None:
    """``SSL_CERT_FILE`` is honoured, so a wrong one is an error and not ignored."""
    bundle = tmp_path / "ca.pem"
    bundle.write_text("no certificate")
    with pytest.raises(InvalidConfiguration, match=r"ca\.pem"):
        await listed_models(
            "https://127.0.0.1:1/v1", api_key="k", environ={"SSL_CERT_FILE": str(bundle)}
        )


@pytest.mark.parametrize(
    ("environ", "models"),
    [
        ({}, ()),
        ({"MILLRACE_MODELS": "a"}, ()),
        ({"OPENAI_API_KEY": "k", "MILLRACE_MODELS": "b,a"}, ("b", "a")),
    ],
)
async def test_declared_models_need_no_list(
    environ: dict[str, str], models: tuple[str, ...]
) -> None:
    """Without a key there are none; names that were declared are taken as they are."""
    environ = {"OPENAI_BASE_URL": "http://127.0.0.1:1/v1", **environ}
    assert await served_models(environ) == models


async def test_a_key_alone_serves_what_is_listed(serve: Serve) -> None:
    """With no names declared the endpoint is asked."""
    url = await serve(answering({"data": [{"id": "m"}]}))
    assert await served_models({"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": url}) == ("m",)
