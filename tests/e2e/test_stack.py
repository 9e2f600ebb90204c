"""The stack as an operator meets it: what runs where, what is refused, what it holds."""

import asyncio
import json
import re
import uuid
from pathlib import Path

import aiohttp
import psutil

from tests.support.asking import ask, unique
from tests.support.sse_client import chat
from tests.support.stack import RunningStack, wait_until

PROCESSES = [
    "kafka",
    "redis",
    "gateway",
    "cache-lookup",
    "router",
    "batcher",
    "model-caller",
    "simulator",
    "local-models",
    "cache-writer",
    "metrics-aggregator",
    "trace-exporter",
    "schema-registry",
]
WITHOUT_PROBES = {"kafka", "redis"}
STREAMS = 200
STREAM_S = 5.0


def test_status_names_every_process_and_address(stack: RunningStack) -> None:
    """For programs: name, pid and state of each process, and where everything is."""
    status = stack.status()
    assert (status["state"], status["is_ready"], status["partitions"]) == ("running", True, 1)
    processes = {process["name"]: process for process in status["processes"]}
    assert list(processes) == PROCESSES
    for process in processes.values():
        assert process["state"] == "running"
        assert psutil.pid_exists(process["pid"])
    addresses = status["addresses"]
    assert addresses["openai"] == f"{addresses['gateway']}/v1"
    assert set(addresses) == {
        *("gateway", "openai", "kafka", "redis", "simulator", "local_models", "schema_registry"),
        "metrics",
    }
    assert set(addresses["metrics"]) == set(PROCESSES) - WITHOUT_PROBES


def test_status_is_a_table_for_people(stack: RunningStack) -> None:
    """The same, to look at."""
    said = stack.said("status")
    for name in PROCESSES:
        assert re.search(rf"^{name} +running", said, re.MULTILINE)
    assert stack.addresses["openai"] in said


async def test_every_service_answers_probes_and_shows_metrics(stack: RunningStack) -> None:
    """``/livez`` and ``/readyz`` say yes, ``/metrics`` is Prometheus' text."""
    metrics: dict[str, str] = stack.status()["addresses"]["metrics"]
    async with aiohttp.ClientSession() as session:
        for name, url in metrics.items():
            for path in ("/livez", "/readyz", "/metrics"):
                async with session.get(url.removesuffix("/metrics") + path) as response:
                    assert response.status == 200, (name, path)
                    assert path != "/metrics" or "# TYPE" in await response.text()


def test_the_gateways_own_health_needs_no_key(stack: RunningStack) -> None:
    """Probes for load balancers and people, on the public port."""
    assert stack.get("/livez") == (200, b"ok\n")
    assert stack.get("/readyz") == (200, b"ok\n")
    status, body = stack.get("/health")
    components = json.loads(body)["components"]
    assert (status, components["kafka"]) == (200, "ok")
    assert components["idempotency-keys"].startswith("read: ")
    status, body = stack.get("/metrics")
    assert status == 200
    assert b"millrace_http_answers" in body


def test_the_doctor_finds_it_well(stack: RunningStack) -> None:
    """Nothing to complain of."""
    assert "All is well" in stack.said("doctor")


def test_a_second_stack_on_the_same_data_is_refused(stack: RunningStack) -> None:
    """With the way out, and without harm to the first."""
    for arguments in (("up", "--detach"), ("up", "--no-table")):
        done = stack.millrace(*arguments)
        assert done.returncode == 1
        said = (done.stdout + done.stderr).decode()
        assert "A stack is already running on" in said
        assert "--data OTHER_DIRECTORY" in said
        assert "Traceback" not in said
    assert stack.status()["is_ready"]


def test_secrets_are_their_owners_alone(stack: RunningStack) -> None:
    """Nobody else on the machine can read the key, or what the gateway signs with."""
    for name in ("dev-key", "secret"):
        assert (stack.data / name).stat().st_mode & 0o077 == 0


def test_no_log_and_no_command_line_holds_a_key_or_a_prompt(stack: RunningStack) -> None:
    """What callers say, and what they prove themselves with, stays out of logs and of `ps`."""
    canary = f"canary-{uuid.uuid4().hex}"
    with stack.openai() as client:
        answer = ask(client, model="sim-fast:echo", messages=[{"role": "user", "content": canary}])
        assert answer.choices[0].message.content == canary
    for log in (stack.data / "logs").iterdir():
        text = log.read_text(errors="replace")
        assert canary not in text, log.name
        if log.name != "supervisor.log":  # the greeting shows a new key, once
            assert stack.key not in text, log.name
    for process in stack.status()["processes"]:
        assert stack.key not in " ".join(psutil.Process(process["pid"]).cmdline())


def test_a_request_that_is_done_can_be_looked_up(stack: RunningStack) -> None:
    """``GET /v1/requests/{id}`` shows state, hops and answer."""
    with stack.openai() as client:
        answer = ask(client)
        path = f"/requests/{answer._request_id}"
        wait_until(
            lambda: client.get(path, cast_to=dict[str, object])["status"] == "completed",
            timeout_s=5,
        )
        found = client.get(path, cast_to=dict[str, object])
    assert isinstance(found["hops"], list)
    services = [hop["service"] for hop in found["hops"]]
    assert services == ["gateway", "cache-lookup", "router", "batcher", "model-caller"]
    response = found["response"]
    assert isinstance(response, dict)
    assert response["choices"][0]["message"]["content"] == answer.choices[0].message.content


async def test_hundreds_of_streams_are_held_and_none_breaks(stack: RunningStack) -> None:
    """Each gets all its words, at their pace, and its end."""
    words = 50
    body = {"model": f"sim-fast:tokens={words}:tps={words / STREAM_S:g}", "stream": True}
    headers = {"authorization": f"Bearer {stack.key}", "cache-control": "no-store, no-cache"}
    connector = aiohttp.TCPConnector(limit=STREAMS)
    async with aiohttp.ClientSession(headers=headers, connector=connector) as session:
        url = stack.addresses["openai"]
        prompts = [[{"role": "user", "content": unique()}] for _ in range(STREAMS)]
        streams = await asyncio.gather(
            *(chat(session, url, {**body, "messages": prompt}) for prompt in prompts)
        )
    assert [stream for stream in streams if not stream.is_ok] == []
    assert all(words // 4 < stream.pieces <= words for stream in streams)
    assert max(stream.duration_s for stream in streams) < STREAM_S + 5


def test_idle_memory_is_bounded(stack: RunningStack) -> None:
    """Kafka, Redis and every service together stay below 1.2 GB; shared pages count once."""
    total_bytes = sum(
        psutil.Process(process["pid"]).memory_full_info().pss
        for process in stack.status()["processes"]
    )
    assert total_bytes < 1.2e9


def test_another_partition_count_is_refused(stack: RunningStack, tmp_path: Path) -> None:
    """Requests in flight depend on the count: it is never changed on existing data."""
    (tmp_path / "topics.json").write_bytes((stack.data / "topics.json").read_bytes())
    other = RunningStack(tmp_path)
    done = other.millrace("up", "--detach", "--partitions", "3")
    assert done.returncode == 1
    assert b"have 1 partitions each, not 3" in done.stdout + done.stderr
    done = other.millrace("up", "--detach", "--partitions", "0")
    assert b"choose 1 to 64" in done.stdout + done.stderr


def test_services_are_called_by_their_name(stack: RunningStack, tmp_path: Path) -> None:
    """A mistake in ``--scale`` is refused before anything starts."""
    del stack  # fetches what a first start needs
    other = RunningStack(tmp_path)
    for scale, complaint in (
        ("reactor=2", b"There is no service 'reactor'"),
        ("gateway", b"write SERVICE=N"),
        ("simulator=2", b"exactly 1"),
    ):
        done = other.millrace("up", "--detach", "--scale", scale)
        assert done.returncode == 1
        assert complaint in done.stdout + done.stderr
