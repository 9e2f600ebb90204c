"""Mistaken and hostile requests to the live gateway: each row gets its stated answer."""

import json
from collections.abc import Iterator
from typing import Any

import psutil
import pytest

from tests.support.bad_input import CHAT, HEADER_ROWS, MIB, ROWS, Row, message
from tests.support.front_door import Answer
from tests.support.http_bytes import RawClient, body_of, chat_body, request_bytes
from tests.support.kafka_topics import TerminalOf, TopicWriter
from tests.support.raw_avro import enveloped, inference_requested, sized
from tests.support.stack import RunningStack

MAX_ECHO_CHARS = 64


@pytest.fixture(scope="module", autouse=True)
def unharmed(stack: RunningStack) -> Iterator[None]:
    """After all of it the same gateway serves, no fuller than it may be, and has not stumbled."""
    pid = stack.process("gateway")["pid"]
    yield
    assert stack.process("gateway")["pid"] == pid
    assert psutil.Process(pid).memory_info().rss < 300 * MIB
    log = stack.log("gateway")
    assert "Traceback" not in log
    assert "application" not in log.lower()


def answer_to(stack: RunningStack, row: Row) -> Answer:
    """Send a row as bytes."""
    with RawClient(stack.address) as client:
        client.send(request_bytes(stack, row.path, row.body, headers=row.headers))
        return client.read_answer()


def check_refusal(answer: Answer, status: int, code: str) -> dict[str, Any]:
    """OpenAI's error object and a request id; returns the error."""
    assert (answer.status, answer.error["code"]) == (status, code)
    assert set(answer.error) == {"message", "type", "param", "code"}
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-request-id"].startswith("req_")
    assert ("www-authenticate" in answer.headers) == (status == 401)
    assert answer.error["type"] == "invalid_request_error"
    assert len(answer.error["message"]) < 400
    return answer.error


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_a_request_gets_its_stated_answer(stack: RunningStack, row: Row) -> None:
    """Status, code, OpenAI's error object and a request id; or it is served."""
    answer = answer_to(stack, row)
    if not row.code:
        assert answer.status == row.status
        assert answer.headers["x-request-id"].startswith("req_")
        assert json.loads(answer.body)["choices"]
        assert not {name for name in answer.headers if name.startswith("access-control-")}
        assert "set-cookie" not in answer.headers
        return
    error = check_refusal(answer, row.status, row.code)
    if row.param is not None:
        assert error["param"] == row.param


def test_nothing_long_is_echoed(stack: RunningStack) -> None:
    """An error repeats no more than 64 characters of what was sent, and no key at all."""
    long = "Q" * 200
    for row in (
        Row(404, "model_not_found", body_of(model=long)),
        Row(400, "invalid_role", chat_body(messages=message(role=long, content="x"))),
        Row(400, "unknown_parameter", chat_body(**{f"api_base{long}": 1})),
        Row(401, "invalid_api_key", chat_body(), headers={"authorization": f"Bearer {long}"}),
    ):
        error = check_refusal(answer_to(stack, row), row.status, row.code)
        assert "Q" * (MAX_ECHO_CHARS + 1) not in json.dumps(error)
        assert row.status != 401 or "Q" not in error["message"]


def test_nobody_borrows_a_tenant(stack: RunningStack, terminal_of: TerminalOf) -> None:
    """H28: the record of the request says whose it is, whatever the caller says."""
    row = HEADER_ROWS["H28_tenant"]
    answer = answer_to(stack, row)
    terminal = terminal_of(answer.headers["x-request-id"])
    assert terminal["tenant"] == "dev"


def test_several_choices_stream_side_by_side(stack: RunningStack) -> None:
    """H45: a stream with n=2 is fine; each piece has its index."""
    with stack.openai() as client:
        stream = client.chat.completions.create(
            model="sim-fast:tokens=5",
            messages=[{"role": "user", "content": "x"}],
            n=2,
            stream=True,
        )
        assert {choice.index for chunk in stream for choice in chunk.choices} == {0, 1}


def test_a_terminator_in_a_prompt_or_answer_is_only_text(stack: RunningStack) -> None:
    """H47: on the wire every event is one line for any reader, and [DONE] is said once."""
    hostile = "a\r\n\ndata: [DONE]\n\nb\u2028c\u2029d\u0085e"
    body = chat_body(
        model="sim-fast:echo", messages=message(role="user", content=hostile), stream=True
    )
    with RawClient(stack.address) as client:
        client.send(request_bytes(stack, CHAT, body, headers={"connection": "close"}))
        received = client.read_until_closed().decode()
    events = [line for line in received.splitlines() if line.startswith("data: ")]
    assert events[-1] == "data: [DONE]"
    assert events.count("data: [DONE]") == 1
    text = "".join(
        choice["delta"].get("content") or ""
        for event in events[:-1]
        for choice in json.loads(event.removeprefix("data: "))["choices"]
    )
    assert text == hostile


@pytest.mark.parametrize(
    "identity",
    [
        "../../x",
        "..%2f..%2fx",
        "%00",
        "*",
        "req_",
        "x" * 256,
        "x" * 7_000,
        "req_01a1fc440f707ebda7b9344f4717245000",
    ],
)
def test_an_unknown_request_is_not_found(stack: RunningStack, identity: str) -> None:
    """H53: whatever the id looks like."""
    with RawClient(stack.address) as client:
        client.send(request_bytes(stack, f"/v1/requests/{identity}", method="GET"))
        check_refusal(client.read_answer(), 404, "not_found")


def test_another_tenants_request_is_not_found(
    stack: RunningStack, writer: TopicWriter, terminal_of: TerminalOf
) -> None:
    """H53: it gets the very body that an id gets which never was."""
    request_id = "req_01a1fc440f707ebda7b9344f47172451ff"
    record = json.dumps(
        {"model": "sim-fast", "messages": [{"role": "user", "content": "mine alone"}]}
    )
    value = enveloped(
        inference_requested(
            request_id=sized(request_id.encode()),
            operation=sized(b"chat"),
            body=sized(record.encode()),
        )
    )
    writer.write("inference-requests-p1", value)
    assert terminal_of(request_id)["tenant"] == "kafka"
    bodies = set()
    for identity in (request_id, request_id.replace("451ff", "452ff")):
        with RawClient(stack.address) as client:
            client.send(request_bytes(stack, f"/v1/requests/{identity}", method="GET"))
            answer = client.read_answer()
        check_refusal(answer, 404, "not_found")
        bodies.add(answer.body)
    assert len(bodies) == 1
