"""A provider's model that fails: users are told when, background work waits, and all see it."""

import json
import uuid

import openai
import pytest

from services.shared.codec.records import encode_record
from services.shared.domain.events import InferenceRequested
from tests.support.asking import ask, unique, user
from tests.support.kafka_topics import SchemaReader, TerminalOf, TopicWriter, topic_reader
from tests.support.stack import RunningStack, wait_until

FAILURES = 5
MODEL = f"sim-fast:tokens=9:fail=500:fail-first={FAILURES}"
HEALTHY = "sim-fast:tokens=9"


def test_an_open_circuit_refuses_users_and_keeps_background_work(
    stack: RunningStack, client: openai.OpenAI, terminal_of: TerminalOf, writer: TopicWriter
) -> None:
    """503 with the time to come again and no call; a request of priority 2 is served later."""
    wait_until(lambda: stack.has_retry_budget(FAILURES))  # other tests' failures cost some
    prompt = unique()
    for _ in range(2):
        with pytest.raises(openai.InternalServerError):
            ask(client, model=MODEL, messages=user(prompt))
    assert len(stack.calls(MODEL)) == FAILURES
    request_id = f"test-{uuid.uuid4().hex}"
    body = json.dumps({"model": MODEL, "messages": user(prompt)}).encode()
    request = InferenceRequested(request_id=request_id, operation="chat", body=body)
    writer.write("inference-requests-p2", encode_record(request))
    with pytest.raises(openai.InternalServerError) as refused:
        ask(client, model=MODEL, messages=user(prompt))
    assert refused.value.status_code == 503
    assert refused.value.code == "provider_unavailable"
    assert 0 < int(refused.value.response.headers["retry-after-ms"]) <= 2_500
    assert len(stack.calls(MODEL)) == FAILURES
    assert ask(client, model=HEALTHY).choices  # another model of the same provider
    terminal = terminal_of(request_id, timeout_s=30)
    assert terminal["outcome"] == "completed"
    assert terminal["hops"][-1]["topic"] == "model-caller-retry-5s"
    assert len(stack.calls(MODEL)) == FAILURES + 1
    schemas = SchemaReader(stack.addresses["schema_registry"])
    with topic_reader(stack.kafka, "provider-health") as health:
        records = [
            schemas.decode(record.value or b"")
            for record in health.read_to_end()
            if record.key == f"simulator/{MODEL}".encode()
        ]
    assert [record["state"] for record in records] == ["open", "half_open", "closed"]
