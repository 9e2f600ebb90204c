"""Streams that are cut and go on elsewhere, with all stages and several gateways."""

import asyncio
from collections.abc import AsyncIterator
from itertools import count
from typing import Any

import msgspec
import pytest

from services.shared.domain.events import ControlRequested
from services.shared.domain.topics import Topic
from tests.pipeline.journeys.travel import Travel
from tests.support.gateway_desk import CHAT, HASTY_KEY, KEY, KEYS, OTHER_KEY, FakeExchange
from tests.support.gateways import Asked, Gateway, data_lines, ids
from tests.support.pipeline import Pipeline
from tests.support.scripted_provider import (
    ENDING,
    FOREVER,
    Frame,
    ScriptedProvider,
    piece,
    streamed,
)
from tests.support.stages import configuration

# The words of an answer, with pauses that make chunks of one and of several fragments.
WORDS: tuple[Frame, ...] = tuple(
    frame for word in range(12) for frame in (piece(f"word {word} "), 0.01 * (word % 5))
)
_QUESTIONS = count()


class Talks:
    """A pipeline with two gateways.

    Attributes:
        travel: The stages.
        one: The gateway that is asked.
        two: Another one.
    """

    def __init__(self, pipeline: Pipeline, *frames: Frame) -> None:
        """Wire it to a provider that streams these."""
        provider = ScriptedProvider([streamed(*frames)])
        self.pipeline = pipeline
        settings = configuration(keys=tuple(KEYS.values()))
        self.travel = Travel(pipeline, first=provider, second=provider, settings=settings)
        self.one = Gateway(pipeline.cluster, partition=3)
        self.two = Gateway(pipeline.cluster, partition=5)

    async def start(self) -> None:
        """Start everything."""
        await self.travel.start()
        await self.one.start()
        await self.two.start()

    async def stop(self) -> None:
        """Stop the gateways."""
        await self.one.stop()
        await self.two.stop()

    def chat(
        self, *, key: str = KEY, exchange: FakeExchange | None = None, **headers: str
    ) -> Asked:
        """Ask the first gateway for a stream."""
        question = {"role": "user", "content": f"Question {next(_QUESTIONS)}?"}
        lines = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.one.ask(
            "/v1/chat/completions",
            method="POST",
            key=key,
            headers={"content-type": "application/json", **lines},
            body=msgspec.json.encode({**CHAT, "messages": [question], "stream": True}),
            exchange=exchange,
        )


@pytest.fixture
async def talks(pipeline: Pipeline) -> AsyncIterator[Talks]:
    """A pipeline with two gateways, whose provider takes its time."""
    running = Talks(pipeline, *WORDS, *ENDING)
    await running.start()
    yield running
    await running.stop()


async def test_a_stream_cut_after_any_event_goes_on_with_the_next(talks: Talks) -> None:
    """On another gateway, by id or by count: exactly the lines that an uncut read goes on with."""
    sent = await talks.chat(x_millrace_resumable="true").answered()
    request_id, lines, cursors = sent.headers["x-request-id"], data_lines(sent.body), ids(sent.body)
    assert len(lines) == len(cursors) == len(set(cursors))
    assert len(lines) > 12
    assert lines[-1] == b"data: [DONE]"
    for number, cursor in enumerate(cursors, 1):
        by_header = await talks.two.events(request_id, headers={"last-event-id": cursor})
        by_query = await talks.two.events(request_id, query=f"starting_after={cursor}")
        by_count = await talks.two.events(request_id, query=f"starting_after={number}")
        for resumed in (by_header, by_query, by_count):
            assert resumed.status == 200
            assert data_lines(resumed.body) == lines[number:]
        assert ids(by_header.body) == cursors[number:]
    for gateway in (talks.one, talks.two):
        assert data_lines((await gateway.events(request_id)).body) == lines


async def test_a_stream_goes_on_elsewhere_while_it_runs(talks: Talks) -> None:
    """Its client, and then its gateway, are gone in the middle; others read on, live, at once."""
    asked = talks.chat(x_millrace_resumable="true")
    await asked.sent.has_parts(2)
    seen = asked.sent.body
    request_id = asked.sent.headers["x-request-id"]
    await asked.give_up()
    await talks.one.stop()
    readers = [
        talks.two.ask(f"/v1/requests/{request_id}/events", headers={"last-event-id": ids(seen)[-1]})
        for _ in range(3)
    ]
    for reader in readers:
        await reader.sent.has_parts()
    assert not any(reader.sent.is_complete for reader in readers)
    rests = [data_lines((await reader.answered()).body) for reader in readers]
    whole = data_lines((await talks.two.events(request_id)).body)
    assert all(data_lines(seen) + rest == whole for rest in rests)
    assert len(talks.travel.first.asked) == 1


async def test_a_stream_without_ids_has_the_same_lines(talks: Talks) -> None:
    """Only who wants to resume gets ids; what was streamed without can be read again with."""
    sent = await talks.chat().answered()
    assert ids(sent.body) == []
    again = await talks.two.events(sent.headers["x-request-id"])
    assert data_lines(again.body) == data_lines(sent.body)


async def test_a_stream_is_its_owners_alone(talks: Talks) -> None:
    """For another tenant it is as if it had never been, running or not."""
    sent = await talks.chat().answered()
    request_id = sent.headers["x-request-id"]
    unknown = request_id[:30] + "00" + request_id[32:]
    answers = {
        (it.status, it.body)
        for it in (
            await talks.two.events(request_id, key=OTHER_KEY),
            await talks.two.events(request_id, key=OTHER_KEY, query="starting_after=1:1:1"),
            await talks.two.events(unknown),
            await talks.two.events("nonsense"),
        )
    }
    assert len(answers) == 1
    assert answers.pop()[0] == 404


async def test_a_hit_can_be_read_again(talks: Talks) -> None:
    """An answer from the cache is a stream like any other."""
    sent = await talks.chat().answered()
    await talks.pipeline.run_until_quiet()
    question = b"Question %d?" % (next(_QUESTIONS) - 1)
    body = msgspec.json.encode(
        {**CHAT, "messages": [{"role": "user", "content": question.decode()}], "stream": True}
    )
    hit = await talks.one.ask(
        "/v1/chat/completions",
        method="POST",
        headers={"content-type": "application/json"},
        body=body,
    ).answered()
    assert hit.headers["x-cache"] == "exact_hit"
    assert hit.headers["x-request-id"] != sent.headers["x-request-id"]
    again = await talks.two.events(hit.headers["x-request-id"])
    assert data_lines(again.body) == data_lines(hit.body)
    assert again.headers["x-cache"] == "exact_hit"


async def test_chunks_that_are_gone_leave_the_answers_address(talks: Talks) -> None:
    """410 says where the whole answer is; also where only the first chunks are gone."""
    sent = await talks.chat(x_millrace_resumable="true").answered()
    await talks.pipeline.run_until_quiet()
    request_id, cursors = sent.headers["x-request-id"], ids(sent.body)
    records = talks.pipeline.cluster.records(Topic.RESULT_CHUNKS)
    address = f"/v1/requests/{request_id}"
    for before in (records[1].offset, records[-1].offset + 1):
        talks.pipeline.cluster.truncate(Topic.RESULT_CHUNKS, partition=3, before=before)
        for headers in ({}, {"last-event-id": cursors[1]}, {"last-event-id": "3"}):
            gone = await talks.two.events(request_id, headers=headers)
            assert (gone.status, gone.error["code"]) == (410, "stream_expired")
            assert address in gone.error["message"]
            assert gone.headers["location"] == address
    stranger = await talks.two.events(request_id, key=OTHER_KEY)
    assert stranger.status == 404
    whole = await talks.two.ask(address).answered()
    assert whole.document["status"] == "completed"


async def test_what_was_not_streamed_has_no_events(talks: Talks) -> None:
    """400 names where the answer is; likewise while the chunk is kept and afterwards."""
    body = msgspec.json.encode({"model": "small", "input": "x"})
    sent = await talks.one.ask(
        "/v1/embeddings",
        method="POST",
        headers={"content-type": "application/json"},
        body=body,
    ).answered()
    await talks.pipeline.run_until_quiet()
    request_id = sent.headers["x-request-id"]
    for before in (0, 1):
        talks.pipeline.cluster.truncate(Topic.RESULT_CHUNKS, partition=3, before=before)
        refused = await talks.two.events(request_id)
        assert (refused.status, refused.error["code"]) == (400, "unsupported_value")
        assert f"GET /v1/requests/{request_id}" in refused.error["message"]


def ask_resumably(gateway: Gateway) -> Asked:
    """Ask for a stream that can be resumed."""
    return gateway.ask(
        "/v1/chat/completions",
        method="POST",
        headers={"content-type": "application/json", "x-millrace-resumable": "true"},
        body=msgspec.json.encode({**CHAT, "stream": True}),
    )


@pytest.mark.parametrize("late_s", [0.0, 0.05, 0.15])
async def test_a_joiner_is_answered_and_resumed_by_its_leaders_chunks(
    talks: Talks, late_s: float
) -> None:
    """At the leader's gateway and at another: one call, and ids that name the leader's chunks.

    From any of them its stream goes on, on every gateway.
    """
    leading = ask_resumably(talks.one)
    await asyncio.sleep(late_s)
    joining = [ask_resumably(talks.one), ask_resumably(talks.two)]
    lead = await leading.answered()
    for asked in joining:
        joined = await asked.answered()
        joiner = joined.headers["x-request-id"]
        assert joiner != lead.headers["x-request-id"]
        assert data_lines(joined.body) == data_lines(lead.body)
        assert ids(joined.body) == ids(lead.body)
        for number, cursor in enumerate(ids(joined.body), 1):
            for gateway in (talks.one, talks.two):
                rest = await gateway.events(joiner, headers={"last-event-id": cursor})
                assert data_lines(rest.body) == data_lines(lead.body)[number:]
    assert len(talks.travel.first.asked) == 1


def controls(talks: Talks) -> list[ControlRequested]:
    """What was asked of those who run requests."""
    events: list[Any] = talks.pipeline.read_output(Topic.CONTROL)
    return events


@pytest.mark.parametrize(
    ("key", "headers", "reasons"),
    [
        pytest.param(KEY, {}, [], id="finish"),
        pytest.param(HASTY_KEY, {}, ["client_gone"], id="cancel"),
        pytest.param(HASTY_KEY, {"x_millrace_resumable": "true"}, [], id="resumable"),
        pytest.param(HASTY_KEY, {"last_event_id": ""}, [], id="resuming"),
    ],
)
async def test_a_client_that_leaves_ends_its_request_where_its_key_says_so(
    talks: Talks, key: str, headers: dict[str, str], reasons: list[str]
) -> None:
    """Unless it may come back for its stream."""
    exchange = FakeExchange()
    asked = talks.chat(key=key, exchange=exchange, **headers)
    await asked.sent.has_parts()
    exchange.leave()
    await asked.answered()
    asked_for = controls(talks)
    assert [it.reason for it in asked_for] == reasons
    for it in asked_for:
        assert (it.action, it.tenant) == ("cancel", "acme")
        assert it.request_id == asked.sent.headers["x-request-id"]


async def test_a_running_request_is_cancelled_from_anywhere(pipeline: Pipeline) -> None:
    """By its owner, on any gateway; one that has ended says how."""
    talks = Talks(pipeline, piece("never"), FOREVER)
    await talks.start()
    asked = talks.chat()
    await asked.sent.has_parts()
    request_id = asked.sent.headers["x-request-id"]
    path = f"/v1/requests/{request_id}/cancel"
    stranger = await talks.two.ask(path, method="POST", key=OTHER_KEY).answered()
    assert stranger.status == 404
    assert controls(talks) == []
    told = await talks.two.ask(path, method="POST").answered()
    assert (told.status, told.document["status"]) == (202, "in_progress")
    (control,) = controls(talks)
    assert (control.request_id, control.tenant) == (request_id, "acme")
    assert (control.action, control.reason) == ("cancel", "asked")
    await asked.answered()
    await pipeline.run_until_quiet()
    told = await talks.two.ask(path, method="POST").answered()
    assert (told.status, told.document["status"]) == (200, "cancelled")
    assert controls(talks) == []
    last = data_lines((await talks.two.events(request_id)).body)[-1]
    assert last == data_lines(asked.sent.body)[-1]
    assert b"request_cancelled" in last
    await talks.stop()


async def test_an_unstreamed_joiner_is_found_and_cancelled_from_anywhere(
    pipeline: Pipeline,
) -> None:
    """By its owner; its client is told, and the one whose call it shared runs on."""
    talks = Talks(pipeline, piece("never"), FOREVER)
    await talks.start()

    def ask() -> Asked:
        return talks.one.ask(
            "/v1/chat/completions",
            method="POST",
            headers={"content-type": "application/json"},
            body=msgspec.json.encode(CHAT),
        )

    leading, joining = ask(), ask()
    await asyncio.sleep(0.5)
    chunks: list[Any] = pipeline.read_output(Topic.RESULT_CHUNKS)
    (joined,) = [chunk for chunk in chunks if chunk.kind == "joined"]
    path = f"/v1/requests/{joined.request_id}"
    for gateway in (talks.one, talks.two):
        state = await gateway.ask(path).answered()
        assert (state.status, state.document["status"]) == (200, "in_progress")
        assert (await gateway.ask(path, key=OTHER_KEY).answered()).status == 404
        events = await gateway.events(joined.request_id)
        assert (events.status, events.error["code"]) == (400, "unsupported_value")
    stranger = await talks.two.ask(f"{path}/cancel", method="POST", key=OTHER_KEY).answered()
    assert stranger.status == 404
    told = await talks.two.ask(f"{path}/cancel", method="POST").answered()
    assert (told.status, told.document["status"]) == (202, "in_progress")
    sent = await joining.answered()
    assert (sent.status, sent.error["code"]) == (499, "request_cancelled")
    assert not leading.sent.is_complete
    state = await talks.two.ask(path).answered()
    assert (state.status, state.document["status"]) == (200, "cancelled")
    leader = f"/v1/requests/{joined.run}/cancel"
    assert (await talks.two.ask(leader, method="POST").answered()).status == 202
    assert (await leading.answered()).status == 499
    await talks.stop()


async def test_a_cancelled_leaders_stream_ends_while_that_of_its_joiner_goes_on(
    talks: Talks,
) -> None:
    """Every reader of the one sees the same end, every reader of the other the whole answer."""
    leading = ask_resumably(talks.one)
    await leading.sent.has_parts(2)
    joining = ask_resumably(talks.two)
    await joining.sent.has_parts(2)
    leader = leading.sent.headers["x-request-id"]
    joiner = joining.sent.headers["x-request-id"]
    told = await talks.two.ask(f"/v1/requests/{leader}/cancel", method="POST").answered()
    assert told.status == 202
    lead, joined = await leading.answered(), await joining.answered()
    assert b"request_cancelled" in data_lines(lead.body)[-1]
    assert data_lines(joined.body)[-1] == b"data: [DONE]"
    assert data_lines(joined.body)[: len(data_lines(lead.body)) - 1] == data_lines(lead.body)[:-1]
    for gateway in (talks.one, talks.two):
        assert data_lines((await gateway.events(leader)).body) == data_lines(lead.body)
        assert data_lines((await gateway.events(joiner)).body) == data_lines(joined.body)
    assert len(talks.travel.first.asked) == 1
