"""One key, one execution: with all stages, two gateways, and the claims on the log."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any

import msgspec
import pytest

from services.gateway.desk import MS_PER_S
from services.gateway.idempotency import APPEARS_WITHIN_MS
from services.shared.codec.records import encode_record
from services.shared.domain.claims import claim_fingerprint, key_hash
from services.shared.domain.events import IdempotencyClaimed
from services.shared.domain.ids import RANDOM_BYTES, new_request_id, partition_for
from services.shared.domain.topics import Topic
from tests.pipeline.journeys.travel import Travel
from tests.support.gateway_desk import CHAT, HASTY_KEY, KEY, KEYS, OTHER_KEY, FakeExchange
from tests.support.gateways import Asked, Gateway, data_lines
from tests.support.pipeline import Pipeline
from tests.support.scripted_provider import (
    ENDING,
    Frame,
    Script,
    ScriptedProvider,
    piece,
    streamed,
    whole,
)
from tests.support.scripted_provider import Asked as Call
from tests.support.stages import configuration

WORDS: tuple[Frame, ...] = tuple(
    frame for word in range(12) for frame in (piece(f"word {word} "), 0.01 * (word % 5))
)

APPEARS_WITHIN_S = APPEARS_WITHIN_MS / MS_PER_S
OK = 200


def slowly(asked: Call) -> Script:
    """The same answer to everything, which takes its time."""
    if asked.body.get("stream"):
        return streamed(*WORDS, *ENDING)
    return msgspec.structs.replace(whole(), before=(0.3,))


class Twins:
    """A pipeline with two gateways.

    Attributes:
        provider: Who is asked; knows how often.
        gateways: The two.
    """

    def __init__(self, pipeline: Pipeline) -> None:
        """Wire it to a provider that takes its time."""
        self.pipeline = pipeline
        self.provider = ScriptedProvider(slowly)
        settings = configuration(keys=tuple(KEYS.values()))
        self.travel = Travel(pipeline, first=self.provider, second=self.provider, settings=settings)
        self.gateways = [
            Gateway(pipeline.cluster, partition=3),
            Gateway(pipeline.cluster, partition=5),
        ]

    def post(
        self,
        key: str = "k",
        *,
        gateway: int = 0,
        virtual_key: str = KEY,
        exchange: FakeExchange | None = None,
        **fields: Any,
    ) -> Asked:
        """Ask a gateway with an idempotency key, past the cache."""
        return self.gateways[gateway].ask(
            "/v1/chat/completions",
            method="POST",
            key=virtual_key,
            headers={
                "content-type": "application/json",
                "cache-control": "no-cache",
                "idempotency-key": key,
            },
            body=msgspec.json.encode(CHAT | fields),
            exchange=exchange,
        )

    @property
    def accepted(self) -> int:
        """Requests that entered the pipeline."""
        return len(self.pipeline.cluster.records(Topic.INFERENCE_REQUESTS_P0))


@pytest.fixture
async def twins(pipeline: Pipeline) -> AsyncIterator[Twins]:
    """A pipeline with two gateways."""
    running = Twins(pipeline)
    await running.travel.start()
    for gateway in running.gateways:
        await gateway.start()
    await asyncio.sleep(0.1)
    yield running
    for gateway in running.gateways:
        await gateway.stop()


@pytest.mark.parametrize("stream", [False, True])
async def test_a_hundred_at_once_are_called_for_once(twins: Twins, *, stream: bool) -> None:
    """Over both gateways: one request, one call, a hundred equal answers."""
    asked = [twins.post(gateway=number % 2, stream=stream) for number in range(100)]
    answers = [await each.answered() for each in asked]
    assert {(each.status, each.body) for each in answers} == {(200, answers[0].body)}
    assert len({each.headers["x-request-id"] for each in answers}) == 1
    assert sum("idempotency-replayed" in each.headers for each in answers) == 99
    assert twins.accepted == len(twins.provider.asked) == 1


@pytest.mark.parametrize("stream", [False, True])
async def test_a_gateway_that_starts_anew_knows_the_key(twins: Twins, *, stream: bool) -> None:
    """It reads the claims back, and the answer from the chunks, or later from its terminal."""
    first = await twins.post(stream=stream).answered()
    for gateway in twins.gateways:
        await gateway.stop()
        await gateway.start()
    await asyncio.sleep(0.1)
    again = await twins.post('"k"', gateway=1, stream=stream).answered()
    assert (again.status, again.body) == (200, first.body)
    cluster = twins.pipeline.cluster
    for where in cluster.partitions_of(Topic.RESULT_CHUNKS):
        end = cluster.partition(where).end
        cluster.truncate(Topic.RESULT_CHUNKS, before=end, partition=where.partition)
    late = await twins.post(gateway=1, stream=stream).answered()
    assert late.headers["x-request-id"] == first.headers["x-request-id"]
    if stream:
        assert text_of(late.body) == text_of(first.body) == "".join(f"word {n} " for n in range(12))
    else:
        assert late.body == first.body
    assert twins.accepted == 1


async def test_a_key_outlives_the_time_for_which_streams_can_be_read_again(twins: Twins) -> None:
    """The answer comes from the terminal then, though its chunks are still in the log."""
    brief = await Gateway(twins.pipeline.cluster, partition=7, retention_s=60).start()
    twins.gateways = [*twins.gateways, brief]
    first = await twins.post(stream=True).answered()
    await twins.pipeline.advance(61)
    late = await twins.post(gateway=len(twins.gateways) - 1, stream=True).answered()
    assert late.headers["x-request-id"] == first.headers["x-request-id"]
    assert (late.status, text_of(late.body)) == (200, text_of(first.body))
    assert twins.accepted == 1


async def test_a_key_is_of_one_tenant_and_one_request(twins: Twins) -> None:
    """Another body is refused while the first runs and after; another tenant is another request."""
    first = twins.post()
    await asyncio.sleep(0.05)
    assert (await twins.post(gateway=1, temperature=0.1).answered()).status == 422
    other = await twins.post(gateway=1, virtual_key=OTHER_KEY).answered()
    assert (await first.answered()).status == other.status == 200
    assert first.sent.headers["x-request-id"] != other.headers["x-request-id"]
    assert (await twins.post(stream=True).answered()).status == 422
    assert twins.accepted == 2


async def test_a_claim_whose_gateway_died_is_run_once(twins: Twins) -> None:
    """Who comes back with the key waits ten seconds, and then gets the answer."""
    now_ms = int(twins.pipeline.cluster.clock.now_ms())
    claim = IdempotencyClaimed(
        tenant="acme",
        key_hash=key_hash("acme", "k"),
        fingerprint=claim_fingerprint("chat", msgspec.json.encode(CHAT)),
        request_id=new_request_id(now_ms=now_ms, random=bytes(RANDOM_BYTES), reply_partition=3),
        at=now_ms,
    )
    partitions = twins.pipeline.cluster.partitions_of(Topic.IDEMPOTENCY_KEYS)
    twins.pipeline.cluster.append(
        Topic.IDEMPOTENCY_KEYS,
        partition=partition_for(claim.key_hash, len(partitions)),
        key=claim.key_hash.encode(),
        value=encode_record(claim),
    )
    await asyncio.sleep(0.1)
    asked = [twins.post(gateway=number % 2) for number in range(4)]
    answers = [await each.answered() for each in asked]
    assert {each.status for each in answers} == {200}
    assert len({each.body for each in answers}) == 1
    assert {each.headers["x-request-id"] for each in answers} == {claim.request_id}
    assert twins.accepted <= len(twins.gateways), "each process publishes it once at most"


async def test_a_client_that_leaves_does_not_cancel_a_request_with_a_key(twins: Twins) -> None:
    """Also where its virtual key says so: it comes back, and the answer is there."""
    exchange = FakeExchange()
    left = twins.post(virtual_key=HASTY_KEY, exchange=exchange, stream=True)
    await left.sent.has_parts()
    exchange.leave()
    await left.answered()
    again = await twins.post(virtual_key=HASTY_KEY, gateway=1, stream=True).answered()
    assert again.status == 200
    assert data_lines(again.body)[-1] == b"data: [DONE]"
    assert again.body.startswith(left.sent.body)
    assert twins.accepted == 1


async def test_a_stream_is_the_same_though_its_terminal_is_found_first(twins: Twins) -> None:
    """A log that was away may give back the terminal record seconds before the chunks."""
    first = await twins.post(stream=True).answered()
    away(twins)
    again = twins.post(gateway=1, stream=True)
    await twins.pipeline.advance(2 * APPEARS_WITHIN_S)
    back(twins)
    assert (await again.answered()).body == first.body
    assert twins.accepted == 1


async def test_a_stream_is_the_same_though_it_ran_while_its_chunks_could_not_be_read(
    twins: Twins,
) -> None:
    """Whoever had read to the end before its first chunk waits for it, whatever the terminal."""
    away(twins)
    first = twins.post(stream=True)
    again = twins.post(gateway=1, stream=True)
    await twins.pipeline.advance(2 * APPEARS_WITHIN_S)
    back(twins)
    answers = [await each.answered() for each in (first, again)]
    assert answers[0].body == answers[1].body
    assert answers[0].body.count(b"data: ") > len(ENDING)
    assert twins.accepted == 1


async def test_an_outage_changes_no_stream(twins: Twins) -> None:
    """Asked before it, cut in two by it, asked during it and after: what comes is the same."""
    asked: dict[str, list[Asked]] = {f"k{number}": [] for number in range(9)}
    ended, running, new = list(asked)[:3], list(asked)[3:6], list(asked)[6:]

    def post(keys: Iterable[str], *, gateway: int) -> None:
        for key in keys:
            asked[key].append(twins.post(key, gateway=gateway, stream=True))

    post(ended, gateway=0)
    await twins.pipeline.advance(1)
    post(running, gateway=0)
    for key in running:
        await asked[key][0].sent.has_parts(3)
    twins.pipeline.cluster.stop_broker()
    for gateway in range(2):
        post([*ended, *running, *new], gateway=gateway)
    await twins.pipeline.advance(17)
    twins.pipeline.cluster.start_broker()
    await twins.pipeline.advance(1)
    for gateway in range(2):
        post(asked, gateway=gateway)
    for key, posts in asked.items():
        answers = [await each.answered() for each in posts]
        lines = [data_lines(each.body) for each in answers if each.status == OK]
        assert len(lines) >= (2 if key in new else 3), "those of before and of after are answered"
        assert lines.count(lines[0]) == len(lines)
        assert lines[0][-1] == b"data: [DONE]"
    assert len(twins.provider.asked) == len(asked)


def away(twins: Twins) -> None:
    """Let no chunk be read."""
    twins.pipeline.cluster.unreadable.add(Topic.RESULT_CHUNKS)


def back(twins: Twins) -> None:
    """Let chunks be read again."""
    twins.pipeline.cluster.unreadable.clear()
    twins.pipeline.cluster.wake()


async def test_without_kafka_a_key_is_refused_and_then_works(twins: Twins) -> None:
    """503 within 5 s and when to try again; the same key is as good as new afterwards."""
    cluster = twins.pipeline.cluster
    cluster.stop_broker()
    refused = await twins.post().answered(within_s=5)
    assert (refused.status, refused.error["code"]) == (503, "upstream_unavailable")
    assert refused.headers["retry-after"] == "2"
    cluster.start_broker()
    await asyncio.sleep(1)
    answered = await twins.post().answered()
    assert answered.status == 200
    again = await twins.post(gateway=1).answered()
    assert (again.status, again.body) == (200, answered.body)
    assert len(twins.provider.asked) == 1


def text_of(body: bytes) -> str:
    """The words of a stream."""
    lines = [line.removeprefix(b"data: ") for line in data_lines(body)]
    chunks = [msgspec.json.decode(line) for line in lines if line != b"[DONE]"]
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    return "".join(choice["delta"].get("content") or "" for choice in choices)
