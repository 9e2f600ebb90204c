"""What OpenAI's official Python client makes of errors, timeouts and broken streams."""

import time
import uuid
from typing import Any

import openai
import pytest
from openai import OpenAI
from openai.types.chat import ChatCompletionChunk

from tests.support.asking import ask, content, unique, user
from tests.support.stack import RunningStack, wait_until


@pytest.mark.parametrize(
    ("fields", "error", "code", "param"),
    [
        pytest.param(
            {"model": "gpt-nothing"},
            openai.NotFoundError,
            "model_not_found",
            "model",
            id="unknown_model",
        ),
        pytest.param(
            {"model": "sim-fast:nonsense"},
            openai.InternalServerError,
            "provider_model_not_found",
            "model",
            id="model_unknown_to_provider",
        ),
        pytest.param(
            {"temperature": 3}, openai.BadRequestError, "out_of_range", "temperature", id="range"
        ),
        pytest.param(
            {"messages": [{"role": "root", "content": "x"}]},
            openai.BadRequestError,
            "invalid_role",
            "messages[0].role",
            id="role",
        ),
        pytest.param(
            {"extra_body": {"api_base": "http://127.0.0.1"}},
            openai.BadRequestError,
            "unknown_parameter",
            "api_base",
            id="address",
        ),
        pytest.param(
            {"model": "sim-fast:fail=400"},
            openai.BadRequestError,
            "provider_rejected",
            None,
            id="provider_400",
        ),
        pytest.param(
            {"model": "sim-fast:fail=422"},
            openai.BadRequestError,
            "provider_rejected",
            None,
            id="provider_422",
        ),
        pytest.param(
            {"model": "sim-fast:fail=context"},
            openai.BadRequestError,
            "context_length_exceeded",
            "messages",
            id="context",
        ),
        pytest.param(
            {"model": "sim-fast:fail=content-policy"},
            openai.BadRequestError,
            "content_filter",
            None,
            id="content_policy",
        ),
        pytest.param(
            {"model": "sim-fast:fail=401"},
            openai.InternalServerError,
            "provider_authentication",
            None,
            id="our_credentials",
        ),
        pytest.param(
            {"model": "sim-fast:fail=429:retry-after=7"},
            openai.RateLimitError,
            "provider_rate_limited",
            None,
            id="rate_limit",
        ),
        pytest.param(
            {"model": "sim-fast:fail=quota"},
            openai.RateLimitError,
            "provider_rate_limited",
            None,
            id="quota",
        ),
        pytest.param(
            {"model": "sim-fast:fail=500:retry-after=7"},
            openai.InternalServerError,
            "provider_error",
            None,
            id="provider_500",
        ),
        pytest.param(
            {"model": "sim-fast:fail=503:retry-after=7"},
            openai.InternalServerError,
            "provider_overloaded",
            None,
            id="provider_503",
        ),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_an_error_raises_the_clients_own_class(
    client: OpenAI,
    fields: dict[str, Any],
    error: type[openai.APIStatusError],
    code: str,
    param: str | None,
    *,
    stream: bool,
) -> None:
    """By status, with code, field and request id; also of a stream that never began."""
    if "fail=" in fields.get("model", ""):  # what one provoked is not to pause another's model
        fields = {**fields, "model": f"{fields['model']}:tokens={uuid.uuid4().int % 900 + 9}"}
    with pytest.raises(error) as raised:
        ask(client, **fields, stream=stream)
    assert (raised.value.code, raised.value.param) == (code, param)
    assert raised.value.request_id is not None
    assert raised.value.request_id.startswith("req_")
    assert raised.value.response.headers["x-should-retry"] in {"true", "false"}


def test_a_wrong_key_is_an_authentication_error(stack: RunningStack) -> None:
    """Somebody else's kind of key, and one of ours that was mistyped."""
    for key in ("sk-proj-1234", stack.key[:-1] + "x"):
        with (
            stack.openai(api_key=key) as stranger,
            pytest.raises(openai.AuthenticationError) as raised,
        ):
            stranger.models.list()
        assert raised.value.code == "invalid_api_key"
        assert key not in str(raised.value)


def test_a_body_too_large_is_413(client: OpenAI) -> None:
    """The client gets the status although it had not finished sending."""
    with pytest.raises(openai.APIStatusError) as raised:
        ask(client, messages=user("x" * 5_000_000))
    assert (raised.value.status_code, raised.value.code) == (413, "body_too_large")


def test_a_rate_limit_says_when_to_come_back(client: OpenAI, stack: RunningStack) -> None:
    """The provider's own hint arrives; a pause that long is not sat out inside the gateway."""
    model = f"sim-fast:fail=429:retry-after=30:tokens={uuid.uuid4().int % 900 + 9}"
    began_s = time.monotonic()
    with pytest.raises(openai.RateLimitError) as raised:
        ask(client, model=model)
    assert time.monotonic() - began_s < 5
    headers = raised.value.response.headers
    assert (headers["retry-after"], headers["retry-after-ms"]) == ("30", "30000")
    assert len(stack.calls(model)) == 1


def test_a_short_failure_is_never_seen(client: OpenAI, stack: RunningStack) -> None:
    """The gateway repeats the call by itself; the headers say how often."""
    wait_until(lambda: stack.has_retry_budget(2))  # other tests' failures cost some
    model = f"sim-fast:fail-first=2:tokens={uuid.uuid4().int % 900 + 9}"
    response = client.chat.completions.with_raw_response.create(
        model=model,
        messages=user(unique()),  # type: ignore[arg-type]  # plain dictionaries
    )
    assert response.headers["x-millrace-attempts"] == "3"
    assert [call["status"] for call in stack.calls(model)] == [500, 500, 200]


def test_the_clients_own_retries_work(stack: RunningStack) -> None:
    """It waits as long as it is told and asks again, as it does with OpenAI."""
    model = f"sim-fast:fail-first=1:retry-after=2100ms:tokens={uuid.uuid4().int % 900 + 9}"
    began_s = time.monotonic()
    with stack.openai(max_retries=2) as patient:
        assert content(ask(patient, model=model))
    assert time.monotonic() - began_s > 2
    assert [call["status"] for call in stack.calls(model)] == [500, 200]


def test_the_client_does_not_repeat_what_cannot_succeed(stack: RunningStack) -> None:
    """``x-should-retry`` keeps it from asking a refused request three times."""
    model = f"sim-fast:fail=401:tokens={uuid.uuid4().int % 900 + 9}"
    with stack.openai(max_retries=2) as patient, pytest.raises(openai.InternalServerError):
        ask(patient, model=model)
    assert len(stack.calls(model)) == 1


def test_the_clients_timeout_is_its_timeout(stack: RunningStack) -> None:
    """``APITimeoutError`` on time; each of its tries is one call, which ends soon after it."""
    model = f"sim-fast:ttft=20s:tokens={uuid.uuid4().int % 900 + 9}"
    began_s = time.monotonic()
    with stack.openai(timeout=0.7, max_retries=1) as hasty, pytest.raises(openai.APITimeoutError):
        ask(hasty, model=model)
    assert time.monotonic() - began_s < 5
    wait_until(lambda: len(stack.calls(model)) == 2)
    wait_until(lambda: {c["outcome"] for c in stack.calls(model)} == {"client_gone"}, timeout_s=5)


@pytest.mark.parametrize("fault", ["error=3", "cut=3", "eof=3", "badjson=3"])
def test_a_broken_stream_raises_and_never_ends_cleanly(client: OpenAI, fault: str) -> None:
    """Whatever the provider does after the first words, the client learns that they are not all."""
    stream = ask(client, model=f"sim-fast:tokens=20:{fault}", stream=True)
    chunks: list[ChatCompletionChunk] = []
    with pytest.raises(openai.APIError) as raised:
        chunks.extend(stream)
    assert not isinstance(raised.value, openai.APIStatusError)
    assert raised.value.code == "stream_interrupted"
    assert all(not choice.finish_reason for chunk in chunks for choice in chunk.choices)


@pytest.mark.parametrize("fault", ["cut=3", "eof=3", "badjson=3", "hang=3"])
def test_a_broken_answer_is_an_error(client: OpenAI, fault: str) -> None:
    """Half an answer is never given for a whole one."""
    with pytest.raises(openai.InternalServerError) as raised:
        ask(
            client,
            model=f"sim-fast:tokens=20:{fault}",
            extra_headers={"x-millrace-deadline-ms": "2500"},
        )
    assert raised.value.status_code in {502, 504}


def test_a_stream_that_falls_silent_ends_with_its_deadline(client: OpenAI) -> None:
    """An error event, not an endless wait."""
    began_s = time.monotonic()
    stream = ask(
        client,
        model="sim-fast:tokens=20:hang=3",
        stream=True,
        extra_headers={"x-millrace-deadline-ms": "1500"},
    )
    with pytest.raises(openai.APIError) as raised:
        list(stream)
    assert raised.value.code == "deadline_exceeded"
    assert time.monotonic() - began_s < 6
