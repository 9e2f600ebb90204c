"""Kafka without HTTP: the command line and the examples."""

import json
import os
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest

from tests.support.kafka_topics import (
    TerminalOf,
    TopicWriter,
)
from tests.support.project import ROOT
from tests.support.stack import RunningStack

P1 = "inference-requests-p1"
RESULTS = "inference-results"
GOES_ON_S = 5.0
CHAT = {"model": "sim-fast:tokens=7", "messages": [{"role": "user", "content": "Why?"}]}


def new_id() -> str:
    """An id as a producer may choose it."""
    return f"test-{uuid.uuid4().hex}"


# -- the command line ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(json.dumps(CHAT), id="one_body"),
        pytest.param(json.dumps([CHAT, CHAT], indent=1), id="a_list"),
        pytest.param(f"{json.dumps(CHAT)}\n\n{json.dumps(CHAT)}\n", id="lines"),
        pytest.param(
            json.dumps({"custom_id": "1", "url": "/v1/chat/completions", "body": CHAT}),
            id="openais_batch_format",
        ),
        pytest.param(json.dumps({"model": "sim-fast:tokens=7", "prompt": "x"}), id="completion"),
        pytest.param(json.dumps({"model": "millrace-embed", "input": "x"}), id="embedding"),
    ],
)
def test_produce_asks_and_prints_the_ids(
    stack: RunningStack, terminal_of: TerminalOf, text: str
) -> None:
    """From standard input, in every form; each request ends completed."""
    ids = stack.said("produce", stdin=text.encode()).split()
    assert ids
    for request_id in ids:
        terminal = terminal_of(request_id)
        assert (terminal["outcome"], terminal["tenant"]) == ("completed", "kafka")
        assert json.loads(terminal["response"])


def test_produce_reads_files_and_sets_priority(
    stack: RunningStack, terminal_of: TerminalOf, tmp_path: Path
) -> None:
    """A file of lines, a feature and a priority, which is the topic's."""
    file = tmp_path / "asked.jsonl"
    file.write_text(f"{json.dumps(CHAT)}\n")
    (request_id,) = stack.said(
        "produce", str(file), "--priority", "2", "--feature", "nightly"
    ).split()
    terminal = terminal_of(request_id)
    assert (terminal["priority"], terminal["feature"]) == (2, "nightly")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('{"model": "x"}', "has none of 'messages', 'prompt', 'input'"),
        ('{"messages": []}\nnonsense', "line 2 is not JSON"),
        ("[1]", "request 1 is no request"),
    ],
)
def test_produce_says_what_is_no_request(stack: RunningStack, text: str, complaint: str) -> None:
    """With the line or number at fault, and exit code 1."""
    done = stack.millrace("produce", stdin=text.encode())
    assert done.returncode == 1
    assert complaint in done.stderr.decode()
    assert b"Traceback" not in done.stderr


def test_what_is_refused_is_told_in_the_result(
    stack: RunningStack, terminal_of: TerminalOf
) -> None:
    """Records pass the same admission as HTTP requests; a refusal is a result, no dead letter."""
    (request_id,) = stack.said(
        "produce", stdin=json.dumps(CHAT | {"temperature": 9}).encode()
    ).split()
    terminal = terminal_of(request_id)
    assert terminal["outcome"] == "failed"
    assert (terminal["error"]["code"], terminal["error"]["param"]) == (
        "out_of_range",
        "temperature",
    )
    assert (terminal["error"]["status"], terminal["error"]["fault"]) == (400, "caller")


def test_tail_shows_decoded_records(stack: RunningStack, terminal_of: TerminalOf) -> None:
    """From the start, filtered, bodies on demand; following ends at a limit."""
    (request_id,) = stack.said("produce", stdin=json.dumps(CHAT).encode()).split()
    terminal_of(request_id)
    where = ("--where", f"request_id={request_id}")
    said = stack.said("tail", RESULTS, "--no-follow", *where)
    document = json.loads(said)
    assert (document["record"], document["topic"]) == ("inference_finished", RESULTS)
    assert (document["value"]["outcome"], document["key"]) == ("completed", request_id)
    assert "--bodies shows them" in document["value"]["response"]
    said = stack.said(
        "tail", RESULTS, "--no-follow", "--bodies", *where, "--where", "outcome=completed"
    )
    assert json.loads(said)["value"]["response"]["choices"][0]["finish_reason"] == "stop"
    assert stack.said("tail", RESULTS, "--no-follow", *where, "--where", "outcome=failed") == ""
    followed = stack.said("tail", RESULTS, "--offset", "-1", "--limit", "1").splitlines()
    assert len(followed) == 1
    recent = stack.said("tail", RESULTS, "--since", "1h", "--no-follow", *where)
    assert json.loads(recent) == document


def test_tail_shows_what_cannot_be_decoded(stack: RunningStack, writer: TopicWriter) -> None:
    """A dead letter's bytes are no reason to stop."""
    mark = new_id()
    writer.write(f"{P1}-dlq", b"rubbish", key=mark.encode())
    said = stack.said("tail", f"{P1}-dlq", "--no-follow", "--where", f"key={mark}")
    assert json.loads(said)["undecodable"] == "bad_envelope"


def test_trace_shows_the_journey(stack: RunningStack, terminal_of: TerminalOf) -> None:
    """Every hop with its place in the log, from the topics alone."""
    fresh = CHAT | {"messages": [{"role": "user", "content": new_id()}]}
    (request_id,) = stack.said("produce", stdin=json.dumps(fresh).encode()).split()
    terminal_of(request_id)
    said = stack.said("trace", request_id)
    for hop in ("cache-lookup", "router", "batcher", "model-caller"):
        assert hop in said
    assert "cache-misses 0:" in said
    assert "completed after" in said
    with stack.openai() as client:
        answer = client.chat.completions.create(**CHAT)  # type: ignore[call-overload]  # plain
    wait_for_trace(stack, answer._request_id)


def wait_for_trace(stack: RunningStack, request_id: str) -> None:
    """A client may have its answer before the terminal record is there."""
    give_up_at_s = time.monotonic() + GOES_ON_S
    while stack.millrace("trace", request_id).returncode != 0:
        assert time.monotonic() < give_up_at_s


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("trace", "req_nothing"), "No terminal record of req_nothing"),
        (("tail", "no-such-topic", "--no-follow"), "no-such-topic"),
        (("tail", RESULTS, "--since", "yesterday"), "write an age such as"),
        (("tail", RESULTS, "--where", "outcome"), "write FIELD=TEXT"),
        (("topics", "describe", "no-such-topic"), "There is no topic"),
        (("produce", "/no/such/file"), "/no/such/file"),
    ],
)
def test_a_command_that_cannot_go_on_says_why(
    stack: RunningStack, arguments: tuple[str, ...], complaint: str
) -> None:
    """One line and exit code 1, no traceback."""
    done = stack.millrace(*arguments)
    said = done.stderr.decode()
    assert done.returncode == 1
    assert complaint in said
    assert "Traceback" not in said


def test_topics_are_listed_described_and_applied(stack: RunningStack) -> None:
    """What is declared is what the cluster has: applying it changes nothing."""
    listed = stack.said("topics", "list")
    assert P1 in listed
    assert "168 h" in listed
    described = stack.said("topics", "describe", P1)
    assert f"On {stack.kafka}: 1 partitions" in described
    assert "604800000" in described
    partitions = str(stack.status()["partitions"])
    assert stack.said("topics", "apply", "--partitions", partitions).startswith("0 changed")


# -- the examples ----------------------------------------------------------------------------------


def example(stack: RunningStack, name: str, *arguments: str, **environ: str) -> str:
    """Run an example as its first lines say; returns what it printed."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / name), *arguments],
        env={**os.environ, **stack.environ, **environ},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_kafka_examples_ask_and_listen(stack: RunningStack) -> None:
    """One publishes a question; the other, in a group of its own, prints how it ended."""
    request_id = example(stack, "kafka_producer.py", "Why do rivers bend?").strip()
    said = example(stack, "kafka_consumer.py", request_id, GROUP=new_id())
    shown = json.loads(said.splitlines()[-1])
    assert (shown["request_id"], shown["outcome"]) == (request_id, "completed")
    assert shown["answer"]["choices"][0]["message"]["content"]


def test_the_openai_example_streams(stack: RunningStack) -> None:
    """Text, model, tokens and request id."""
    said = example(stack, "openai_chat.py", "Why do rivers bend?")
    assert len(said.split()) > 10
    assert "request id: req_" in said


@pytest.mark.parametrize("path", sorted((ROOT / "examples").iterdir()), ids=lambda path: path.name)
def test_an_example_is_short(path: Path) -> None:
    """Whoever copies one has read it first."""
    assert len(path.read_text().splitlines()) < 60
