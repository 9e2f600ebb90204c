"""OpenAI's official JavaScript client, unmodified, against the live stack."""

import json
import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.project import ROOT
from tests.support.stack import RunningStack, wait_until
from tests.support.temporary_folders import temporary_folder

pytestmark = pytest.mark.may_skip

VERSION = "7.55.0"
_INSTALL_S = 120.0
_RUN_S = 30.0
_SCRIPT = Path(__file__).parent / "node" / "client.mjs"
Run = Callable[..., dict[str, Any]]


def _packages() -> Path:
    """The folder that holds npm's ``openai`` of our version; it is installed once a machine."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "millrace" / "node" / f"openai-{VERSION}"
    if (folder / "node_modules").is_dir():
        return folder / "node_modules"
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip("node and npm are not installed here")
    folder.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(dir=folder.parent))
    options = ("--no-audit", "--no-fund", "--ignore-scripts", "--fetch-retries=1")
    try:
        installed = subprocess.run(
            [npm, "install", *options, "--prefix", str(fresh), f"openai@{VERSION}"],
            capture_output=True,
            text=True,
            check=False,
            cwd=fresh,
            timeout=_INSTALL_S,
        )
        if installed.returncode != 0:
            pytest.skip(f"npm cannot install openai@{VERSION}: {installed.stderr[-300:]}")
        if not folder.exists():
            fresh.rename(folder)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return folder / "node_modules"


@pytest.fixture(scope="session")
def workplace() -> Iterator[Path]:
    """A folder in which a script finds the package ``openai``."""
    packages = _packages()
    with temporary_folder("node") as folder:
        (folder / "node_modules").symlink_to(packages, target_is_directory=True)
        yield folder


@pytest.fixture
def run(workplace: Path, stack: RunningStack) -> Run:
    """Runs one case of the script and returns what it saw."""

    def run_case(case: str, **asked: Any) -> dict[str, Any]:
        output = _node(workplace, _SCRIPT, stack, case, json.dumps(asked))
        document: dict[str, Any] = json.loads(output)
        return document

    return run_case


def _node(workplace: Path, script: Path, stack: RunningStack, *arguments: str) -> str:
    copy = workplace / script.name  # beside node_modules, where imports are looked for
    copy.write_bytes(script.read_bytes())
    done = subprocess.run(
        ["node", str(copy), *arguments],  # noqa: S607  # the user's node
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **stack.environ},
        timeout=_RUN_S,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def _unique(text: str = "Why do rivers meander?") -> str:
    return f"{text} {uuid.uuid4().hex}"


def _own_model(options: str) -> str:
    """A model name that no other test uses, so that its calls can be counted."""
    return f"sim-fast:{options}:tokens={uuid.uuid4().int % 900 + 30}"


def test_a_chat_is_answered(run: Run) -> None:
    """Text, usage, and the request's id where the client looks for it."""
    seen = run("chat", prompt=_unique())
    assert len(seen["content"]) > 20
    assert seen["reason"] == "stop"
    assert seen["requestId"].startswith("req_")
    assert seen["cache"] == "miss"


def test_a_streamed_answer_is_the_answer(run: Run) -> None:
    """The same text, one id, usage at the end, one finish reason."""
    prompt = _unique()
    whole = run("chat", prompt=prompt)
    seen = run("stream", prompt=prompt, body={"stream_options": {"include_usage": True}})
    assert seen == {
        "content": whole["content"],
        "usage": whole["usage"],
        "ids": 1,
        "reasons": ["stop"],
    }


def test_whatever_a_text_contains_arrives_intact(run: Run) -> None:
    """Line ends of every kind and a forged end of the stream."""
    hostile = "a\r\n\ndata: [DONE]\n\nb\u2028c\u2029d\u0085e"
    assert run("stream", prompt=hostile, body={"model": "sim-fast:echo"})["content"] == hostile


def test_tools_pass_through_a_stream(run: Run) -> None:
    """The client's own helper puts the call together."""
    parameters = {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
    }
    tool = {"type": "function", "function": {"name": "get_weather", "parameters": parameters}}
    seen = run("tools", prompt=_unique("use get_weather"), body={"tools": [tool]})
    assert (seen["reason"], seen["name"]) == ("tool_calls", "get_weather")
    assert isinstance(seen["arguments"]["city"], str)


def test_embeddings_completions_and_models(run: Run) -> None:
    """The other endpoints."""
    inputs = [_unique("one"), _unique("two")]
    embedded = run("embeddings", body={"model": "millrace-embed", "input": inputs})
    assert embedded["lengths"] == [384, 384]
    body = {"model": "sim-fast:tokens=5", "prompt": inputs, "max_tokens": 9}
    assert len(run("completions", body=body)["texts"]) == 2
    models = run("models", model="sim-fast:tokens=5")
    assert "millrace-demo" in models["ids"]
    assert models["one"] == "sim-fast:tokens=5"


@pytest.mark.parametrize(
    ("asked", "error", "status", "code"),
    [
        ({"options": {"apiKey": "sk-other"}}, "AuthenticationError", 401, "invalid_api_key"),
        ({"body": {"model": "gpt-nothing"}}, "NotFoundError", 404, "model_not_found"),
        ({"body": {"temperature": 3}}, "BadRequestError", 400, "out_of_range"),
        ({"fault": "fail=500:retry-after=7"}, "InternalServerError", 502, None),
        ({"fault": "fail=429:retry-after=7"}, "RateLimitError", 429, "provider_rate_limited"),
    ],
)
def test_an_error_raises_the_clients_own_class(
    run: Run, asked: dict[str, Any], error: str, status: int, code: str | None
) -> None:
    """By status, with code and request id."""
    for case in ("chat", "stream"):
        options = asked
        if fault := asked.get("fault"):
            options = {"body": {"model": _own_model(fault)}}  # not paused by the one before
        seen = run(case, prompt=_unique(), **options)
        assert (seen["error"], seen["status"]) == (error, status)
        assert seen["requestId"].startswith("req_")
        assert code is None or seen["code"] == code
        assert status != 429 or seen["retryAfter"] == "7"


@pytest.mark.parametrize("fault", ["error=3", "cut=3", "eof=3"])
def test_a_broken_stream_raises(run: Run, fault: str) -> None:
    """It never ends as if it were whole."""
    seen = run("stream", prompt=_unique(), body={"model": f"sim-fast:tokens=20:{fault}"})
    assert (seen["error"], seen["isApiError"]) == ("APIError", True)
    assert seen["code"] == "stream_interrupted"


def test_timeouts_and_retries_are_the_clients_own(run: Run, stack: RunningStack) -> None:
    """A timeout on time, both tries one call; a failure that passes is overcome by a retry."""
    slow = _own_model("ttft=5s")
    options = {"timeout": 700, "maxRetries": 1}
    seen = run("chat", prompt=_unique(), body={"model": slow}, options=options)
    assert seen["error"] == "APIConnectionTimeoutError"
    wait_until(lambda: stack.calls(slow))  # they are told of when they are over
    assert len(stack.calls(slow)) == 1  # the second try waited for the answer of the first
    flaky = _own_model("fail-first=1:retry-after=2100ms")
    seen = run("chat", prompt=_unique(), body={"model": flaky}, options={"maxRetries": 2})
    assert seen["content"]
    assert [call["status"] for call in stack.calls(flaky)] == [500, 200]


def test_the_example_runs(workplace: Path, stack: RunningStack) -> None:
    """``examples/openai_chat.mjs`` prints an answer."""
    said = _node(workplace, ROOT / "examples" / "openai_chat.mjs", stack, "Why?")
    assert len(said.split()) > 5
