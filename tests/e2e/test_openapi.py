"""The live gateway against its own OpenAPI document, by schemathesis as anybody runs it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.stack import RunningStack

_CONFIGURATION = Path(__file__).with_name("schemathesis.toml")
_SCHEMATHESIS = Path(sys.executable).with_name("schemathesis")
_SEED = 20_260_101
_MOST_ITEMS = 64
_TIMEOUT_S = 150.0
_MODELS = {
    "/v1/chat/completions": "sim-fast:tokens=3",
    "/v1/completions": "sim-fast:tokens=3",
    "/v1/embeddings": "millrace-embed",
}


def reaching(document: dict[str, Any]) -> dict[str, Any]:
    """The document with a model that there is, so that requests get past the door.

    Arrays are kept short: the bounds of long ones have rows of their own, and cost minutes here.
    """
    for path, model in _MODELS.items():
        content = document["paths"][path]["post"]["requestBody"]["content"]
        content["application/json"]["schema"]["properties"]["model"] = {"const": model}
    shorten(document)
    return document


def shorten(node: Any) -> None:
    """Take long bounds of arrays out of a document."""
    if isinstance(node, dict):
        if isinstance(node.get("maxItems"), int) and node["maxItems"] > _MOST_ITEMS:
            del node["maxItems"]
        for child in node.values():
            shorten(child)
    elif isinstance(node, list):
        for child in node:
            shorten(child)


@pytest.mark.slow
def test_the_gateway_keeps_what_its_document_promises(stack: RunningStack, tmp_path: Path) -> None:
    """No 5xx, every status, header and body as documented, nothing accepted that is forbidden.

    Examples, the bounds of every field, and random requests, good and bad, to every operation.
    """
    status, served = stack.get("/openapi.json")
    assert status == 200
    document = tmp_path / "openapi.json"
    document.write_text(json.dumps(reaching(json.loads(served))))
    done = subprocess.run(
        [
            str(_SCHEMATHESIS),
            "--config-file",
            str(_CONFIGURATION),
            "run",
            str(document),
            "--url",
            stack.addresses["gateway"],
            "--header",
            f"Authorization: Bearer {stack.key}",
            "--max-examples",
            "60",
            "--seed",
            str(_SEED),
            "--no-color",
            "--no-shrink",
        ],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        timeout=_TIMEOUT_S,
    )
    assert done.returncode == 0, done.stdout[-6_000:] + done.stderr[-2_000:]
    operations = sum(map(len, json.loads(served)["paths"].values()))
    assert f"{operations} selected / {operations} total" in done.stdout
