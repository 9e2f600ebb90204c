"""The local models over HTTP, without a model."""

import asyncio
from base64 import b64decode
from collections.abc import AsyncIterator, Sequence

import httpx
import numpy as np
import pytest

from services.local_models.app import make_app
from services.local_models.metrics import LocalModelsMetrics
from services.shared.domain.errors import Unavailable
from tests.support.fake_clock import FakeClock
from tests.support.fake_encoder import FakeEncoder


class CountingEncoder(FakeEncoder):
    """A token a word."""

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Number of words of each text."""
        return [len(text.split()) for text in texts]


class Rig:
    """An application on an encoder of the test's own."""

    def __init__(self) -> None:
        self.encoder = CountingEncoder()
        self.loads = 0
        self.is_there = True
        app = make_app(self.load, metrics=LocalModelsMetrics(), clock=FakeClock())
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        self.http = httpx.AsyncClient(transport=transport, base_url="http://local")

    def load(self) -> CountingEncoder:
        """Load the encoder, if it is there."""
        self.loads += 1
        if not self.is_there:
            raise Unavailable("encoder", "there is none")
        return self.encoder

    async def ask(self, **fields: object) -> httpx.Response:
        """Ask for embeddings."""
        return await self.http.post("/v1/embeddings", json={"model": "minilm", **fields})


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    """One of them."""
    made = Rig()
    async with made.http:
        yield made


async def test_vectors_come_in_the_order_of_the_inputs(rig: Rig) -> None:
    """With OpenAI's names around them, and usage."""
    answer = (await rig.ask(input=["one two", "three"])).json()
    expected = await rig.encoder.encode(["one two", "three"])
    assert [item["index"] for item in answer["data"]] == [0, 1]
    for item, row in zip(answer["data"], expected, strict=True):
        np.testing.assert_allclose(item["embedding"], row, atol=1e-7)
    assert answer["usage"] == {"prompt_tokens": 3, "total_tokens": 3}
    assert (answer["object"], answer["model"]) == ("list", "minilm")


async def test_base64_holds_the_same_floats(rig: Rig) -> None:
    """OpenAI's clients ask for base64 by default."""
    floats = (await rig.ask(input="a text")).json()["data"][0]["embedding"]
    encoded = (await rig.ask(input="a text", encoding_format="base64")).json()
    raw = b64decode(encoded["data"][0]["embedding"])
    np.testing.assert_array_equal(np.frombuffer(raw, "<f4"), np.array(floats, np.float32))


async def test_the_model_is_loaded_once_and_only_when_it_is_needed(rig: Rig) -> None:
    """Probes and refusals need none; requests at once share one load."""
    await rig.http.get("/livez")
    await rig.ask(input="")
    assert rig.loads == 0
    await asyncio.gather(*(rig.ask(input="a text") for _ in range(5)))
    assert rig.loads == 1


async def test_without_a_model_requests_may_be_repeated(rig: Rig) -> None:
    """503 with Retry-After; the next request tries again."""
    rig.is_there = False
    refused = await rig.ask(input="a text")
    assert refused.status_code == 503
    assert refused.headers["retry-after"] == "1"
    rig.is_there = True
    assert (await rig.ask(input="a text")).status_code == 200


async def test_an_overloaded_model_refuses(rig: Rig) -> None:
    """What cannot wait is told so, in OpenAI's words."""
    rig.encoder.is_available = False
    refused = await rig.ask(input="a text")
    assert refused.status_code == 503
    assert refused.json()["error"]["code"] == "server_is_overloaded"


async def test_an_input_that_would_be_cut_off_is_refused(rig: Rig) -> None:
    """No vector is made of a part of a text."""
    refused = await rig.ask(input=["fine", "word " * 300])
    assert refused.status_code == 400
    assert refused.json()["error"]["code"] == "context_length_exceeded"
    assert rig.encoder.calls == []


async def test_a_body_without_end_is_refused(rig: Rig) -> None:
    """It is not read to its end."""
    pieces_read = 0

    async def pieces() -> AsyncIterator[bytes]:
        nonlocal pieces_read
        for _ in range(100):
            pieces_read += 1
            yield b" " * 1024 * 1024

    refused = await rig.http.post("/v1/embeddings", content=pieces())
    assert refused.status_code == 413
    assert pieces_read < 20


async def test_models_are_listed(rig: Rig) -> None:
    """One model; any other is unknown."""
    listed = (await rig.http.get("/v1/models")).json()
    assert [model["id"] for model in listed["data"]] == ["minilm"]
    assert (await rig.http.get("/v1/models/minilm")).json()["id"] == "minilm"
    assert (await rig.http.get("/v1/models/gpt-4o")).status_code == 404


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/v1/embeddings", 405), ("GET", "/x", 404)]
)
async def test_other_paths_and_methods_have_openais_errors(
    rig: Rig, method: str, path: str, status: int
) -> None:
    """Clients parse errors by one shape."""
    refused = await rig.http.request(method, path)
    assert refused.status_code == status
    assert set(refused.json()["error"]) == {"message", "type", "param", "code"}


async def test_a_mistake_of_ours_is_a_500_without_details(rig: Rig) -> None:
    """Nothing of an exception reaches callers."""

    def broken() -> CountingEncoder:
        msg = "secret detail"
        raise RuntimeError(msg)

    app = make_app(broken, metrics=LocalModelsMetrics(), clock=FakeClock())
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://local") as http:
        refused = await http.post("/v1/embeddings", json={"model": "minilm", "input": "a"})
    assert refused.status_code == 500
    assert "secret" not in refused.text


async def test_what_was_answered_is_counted(rig: Rig) -> None:
    """By status; texts and tokens as well."""
    await rig.ask(input=["one two", "three"])
    await rig.ask(input="")
    shown = (await rig.http.get("/metrics")).text
    assert 'millrace_local_models_requests_total{status="200"} 1.0' in shown
    assert 'millrace_local_models_requests_total{status="400"} 1.0' in shown
    assert "millrace_local_models_texts_total 2.0" in shown
    assert "millrace_local_models_tokens_total 3.0" in shown
