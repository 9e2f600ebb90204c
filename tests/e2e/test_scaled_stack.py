"""A stack with several of a kind: two gateways, two callers, two partitions; and its ends."""

import asyncio
import contextlib
import random
import signal
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import psutil
import pytest
from openai import OpenAI

from tests.support.asking import ask, content, unique, user
from tests.support.gateways import data_lines, ids
from tests.support.history import Operation
from tests.support.http_bytes import RawClient, chat_body, request_bytes
from tests.support.sse_client import chat
from tests.support.stack import RunningStack, running_stack, wait_until

SCALE = ("gateway=2", "cache-lookup=2", "router=2", "batcher=2", "model-caller=2")
SCALE_OPTIONS = [option for scale in SCALE for option in ("--scale", scale)]
EXIT_S = 30.0
DRAIN_S = 25.0
CUTS = 20


@pytest.fixture(scope="module")
def scaled() -> Iterator[RunningStack]:
    """A stack of its own, with several of a kind."""
    with running_stack("--partitions", "2", *SCALE_OPTIONS) as running:
        yield running


def second(stack: RunningStack, **options: Any) -> OpenAI:
    """A client of the second gateway."""
    return stack.openai(base_url=f"{stack.addresses['gateway_1']}/v1", **options)


def test_every_instance_is_named(scaled: RunningStack) -> None:
    """With a slot, a process and an address of its own."""
    status = scaled.status()
    names = {process["name"] for process in status["processes"]}
    assert {name.replace("=2", "-1") for name in SCALE} <= names
    assert status["partitions"] == 2
    assert status["addresses"]["gateway_1"] != status["addresses"]["gateway"]


def test_what_one_gateway_was_asked_the_other_can_find(scaled: RunningStack) -> None:
    """Answers come back to whoever was asked; records belong to all."""
    with scaled.openai() as one, second(scaled) as two:
        for client, other in ((one, two), (two, one)):
            answer = ask(client)
            path = f"/requests/{answer._request_id}"

            def found(other: OpenAI = other, path: str = path) -> dict[str, Any]:
                return other.get(path, cast_to=dict[str, Any])

            wait_until(lambda found=found: found()["status"] == "completed", timeout_s=5)  # type: ignore[misc]


async def test_many_requests_over_two_gateways_get_their_own_answers(scaled: RunningStack) -> None:
    """Whatever partition and instance they pass."""
    async with (
        scaled.async_openai() as one,
        scaled.async_openai(base_url=f"{scaled.addresses['gateway_1']}/v1") as two,
    ):

        async def check(number: int) -> None:
            prompt = unique(f"question {number}")
            answer = await (one, two)[number % 2].chat.completions.create(
                model="sim-fast:echo", messages=[{"role": "user", "content": prompt}]
            )
            assert content(answer) == prompt

        await asyncio.gather(*(check(number) for number in range(60)))
    callers = [scaled.process(name)["pid"] for name in ("model-caller", "model-caller-1")]
    assert all(psutil.pid_exists(pid) for pid in callers)


async def post(
    session: aiohttp.ClientSession, address: str, key: str, body: dict[str, Any]
) -> tuple[int, bytes, str, bool]:
    """Ask with an idempotency key: status, body, id of the request, whether it is a replay."""
    headers = {"idempotency-key": key}
    async with session.post(f"{address}/v1/chat/completions", json=body, headers=headers) as got:
        is_replay = got.headers.get("idempotency-replayed") == "true"
        return got.status, await got.read(), got.headers["x-request-id"], is_replay


@pytest.mark.parametrize("stream", [False, True])
async def test_a_hundred_posts_with_one_key_are_one_request(
    scaled: RunningStack, *, stream: bool
) -> None:
    """Over two gateways: one execution, a hundred equal answers; another body is refused.

    A gateway that was killed meanwhile knows the key again once it is back.
    """
    addresses = (scaled.addresses["gateway"], scaled.addresses["gateway_1"])
    key = unique("key").replace(" ", "-")
    body = {"model": "sim-fast:tokens=20:tps=20", "messages": user(unique()), "stream": stream}
    async with aiohttp.ClientSession(headers={"authorization": f"Bearer {scaled.key}"}) as session:
        answers = await asyncio.gather(
            *(post(session, addresses[number % 2], key, body) for number in range(100))
        )
        assert {(status, content, of) for status, content, of, _ in answers} == {answers[0][:3]}
        assert answers[0][0] == 200
        assert sum(is_replay for *_, is_replay in answers) == 99
        other = await post(session, addresses[1], key, body | {"temperature": 0.5})
        assert other[0] == 422
        pid = scaled.signal("gateway-1", signal.SIGKILL)
        wait_until(lambda: scaled.is_replaced("gateway-1", pid=pid))

        async def again() -> tuple[int, bytes, str, bool]:
            while True:
                with contextlib.suppress(aiohttp.ClientError):
                    answer = await post(session, addresses[1], f'"{key}"', body)
                    if answer[0] != 503:
                        return answer
                await asyncio.sleep(0.1)

        assert await again() == (*answers[0][:3], True)


async def test_streams_cut_at_one_gateway_go_on_at_the_other(scaled: RunningStack) -> None:
    """Cut in the middle of the wire, while they run: the same lines as those of an uncut read."""
    one, two = (f"{scaled.addresses[name]}/v1" for name in ("gateway", "gateway_1"))
    headers = {"authorization": f"Bearer {scaled.key}"}
    chance = random.Random(CUTS)  # where to cut is no secret

    async with aiohttp.ClientSession(headers=headers) as session:

        async def events(base: str, request_id: str, last: str = "") -> bytes:
            resuming = {"last-event-id": last} if last else {}
            url = f"{base}/requests/{request_id}/events"
            async with session.get(url, headers=resuming) as answer:
                assert answer.status == 200
                return await answer.read()

        async def check(cut_at: int) -> None:
            seen = b""
            body = {
                "model": "sim-fast:tokens=60:tps=40",
                "messages": user(unique()),
                "stream": True,
            }
            asking = session.post(
                f"{one}/chat/completions", json=body, headers={"x-millrace-resumable": "true"}
            )
            async with asking as answer:
                request_id = answer.headers["x-request-id"]
                while seen.count(b"\n\n") < 1 or len(seen) < cut_at:
                    seen += await answer.content.readany()
            seen = seen[: seen[: max(cut_at, seen.index(b"\n\n") + 2)].rindex(b"\n\n") + 2]
            rest = await events(two, request_id, ids(seen)[-1])
            whole = await events(one, request_id)
            assert data_lines(seen) + data_lines(rest) == data_lines(whole)
            assert data_lines(whole)[-1] == b"data: [DONE]"

        await asyncio.gather(*(check(chance.randrange(200, 9_000)) for _ in range(CUTS)))


@pytest.mark.slow
async def test_a_gateway_that_is_told_to_stop_drains_and_ends_in_time(
    scaled: RunningStack,
) -> None:
    """What can end in time ends whole; what cannot is told so; a stalled reader holds nobody up.

    The other gateway serves meanwhile, and the supervisor starts the one that ended anew.
    """
    address = scaled.addresses["gateway_1"]
    parts = urlsplit(address)
    assert parts.hostname is not None
    assert parts.port is not None
    headers = {"authorization": f"Bearer {scaled.key}"}
    async with aiohttp.ClientSession(headers=headers) as session:

        def stream(options: str) -> "asyncio.Task[Operation]":
            body = {"model": f"sim-fast:{options}", "messages": user(unique()), "stream": True}
            return asyncio.create_task(chat(session, f"{address}/v1", body))

        with RawClient((parts.hostname, parts.port), receive_buffer_bytes=4096) as stalled:
            body = chat_body(model="sim-fast:tokens=20000", messages=user(unique()), stream=True)
            stalled.send(request_bytes(scaled, "/v1/chat/completions", body))
            short = stream("tokens=40:tps=10")
            long = stream("tokens=900:tps=10")
            await asyncio.sleep(1.0)  # all three are under way
            pid = scaled.signal("gateway-1", signal.SIGTERM)
            began_s = time.monotonic()
            with scaled.openai() as other:
                assert content(ask(other))
            ended = await asyncio.gather(short, long)
            while psutil.pid_exists(pid):
                assert time.monotonic() - began_s < EXIT_S
                await asyncio.sleep(0.05)
    assert ended[0].is_ok
    assert (ended[1].error_code, ended[1].is_done) == ("server_shutting_down", False)
    assert ended[1].duration_s > DRAIN_S
    wait_until(lambda: scaled.is_replaced("gateway-1", pid=pid))
    with second(scaled, max_retries=5) as again:
        assert content(ask(again))


def test_records_outlive_a_stop_and_a_start(scaled: RunningStack) -> None:
    """The same key, the same records; another partition count is refused with the remedy."""
    key = scaled.key
    with scaled.openai() as client:
        answer = ask(client)
    wait_until(lambda: scaled.millrace("trace", answer._request_id).returncode == 0)
    pids = [process["pid"] for process in scaled.status()["processes"]]
    scaled.down()
    assert not [pid for pid in pids if psutil.pid_exists(pid)]
    stopped = scaled.millrace("status", "--json")
    assert (stopped.returncode, b'"stopped"' in stopped.stdout) == (3, True)

    refused = scaled.millrace("up", "--detach", "--partitions", "3")
    assert refused.returncode == 1
    assert b"have 2 partitions each, not 3" in refused.stdout + refused.stderr

    said = scaled.up(*SCALE_OPTIONS)
    assert scaled.key == key
    assert key not in said, "it was shown once"
    assert scaled.status()["partitions"] == 2
    assert "completed after" in scaled.said("trace", answer._request_id)
    with scaled.openai() as client:
        assert content(ask(client))
