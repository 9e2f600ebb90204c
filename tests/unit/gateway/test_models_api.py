"""``GET /v1/models`` and ``/v1/models/{name}``."""

import pytest

from services.gateway.models_api import ModelsApi
from tests.support.gateway_desk import (
    KEY,
    KEYS,
    MODELS,
    NARROW_KEY,
    REVOKED_KEY,
    Sent,
    http_request,
)

API = ModelsApi(models=MODELS, keys=KEYS, created_s=1_780_000_000)


async def listed(key: str) -> Sent:
    """The list that a key sees."""
    sent = Sent()
    request = http_request(method="GET", headers={"authorization": f"Bearer {key}"})
    await API.list(request, sent)
    return sent


async def got(name: str, key: str = KEY) -> Sent:
    """One model as a key sees it."""
    sent = Sent()
    request = http_request(method="GET", headers={"authorization": f"Bearer {key}"})
    request.parameters = (name,)
    await API.get(request, sent)
    return sent


async def test_models_are_listed_in_openai_s_form() -> None:
    """Those with a name of their own; a pattern is no model."""
    sent = await listed(KEY)
    assert sent.document == {
        "object": "list",
        "data": [
            {"id": name, "object": "model", "created": 1_780_000_000, "owned_by": "millrace"}
            for name in ("small", "large")
        ],
    }
    assert sent.headers["x-request-id"]


async def test_a_key_sees_only_its_models() -> None:
    """What it may not ask for, it does not see."""
    assert [model["id"] for model in (await listed(NARROW_KEY)).document["data"]] == ["small"]
    assert (await got("large", NARROW_KEY)).status == 404


@pytest.mark.parametrize("name", ["small", "lab-1", "openai/gpt-9"])
async def test_a_model_is_retrieved_by_name_or_pattern(name: str) -> None:
    """Whatever may be asked for can be retrieved."""
    sent = await got(name)
    assert (sent.status, sent.document["id"]) == (200, name)


@pytest.mark.parametrize("name", ["nothing", "lab", "Small", "lab-\0", "lab-ä", "lab-" + "x" * 300])
async def test_an_unknown_model_is_not_found(name: str) -> None:
    """Nor is one whose name no request may carry; the name is not echoed."""
    sent = await got(name)
    assert (sent.status, sent.error["code"]) == (404, "model_not_found")
    assert name not in sent.error["message"]


async def test_nobody_looks_without_a_key() -> None:
    """Revoked keys see nothing."""
    assert (await listed(REVOKED_KEY)).status == 401
    assert (await got("small", REVOKED_KEY)).status == 401
