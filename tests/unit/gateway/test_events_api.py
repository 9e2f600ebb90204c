"""``GET /v1/requests/{id}/events`` towards its client: heads, keep-alives, limits, refusals."""

import asyncio

import pytest
from openai._streaming import SSEDecoder

from services.gateway import events_api
from services.gateway.event_stream import GRACE_MS, HEADERS_WITHIN_S, KEEP_ALIVE_S
from services.gateway.front_door.exchange import ClientGone
from services.shared.codec.headers import REQUEST_ID, TENANT
from services.shared.codec.records import decode_record, encode_record
from services.shared.domain.configuration import MIN_STREAM_RETENTION_S
from services.shared.domain.events import ChunkKind, ControlRequested
from services.shared.domain.ids import NO_REPLY
from services.shared.domain.topics import Topic
from tests.support.example_events import finished, missed, requested
from tests.support.fake_clock import FakeClock, run_on_fake_time
from tests.support.gateway_desk import KEY, OTHER_KEY, STRANGER_KEY, FakeExchange
from tests.support.gateways import Chunks, Gateway, data_lines, ids
from tests.support.memory_log import MemoryCluster
from tests.unit.gateway.test_streams import OWN, PARTITIONS, Rig, rigged

ERROR = b'{"error":{"message":"No.","type":"x","param":null,"code":"provider_error"}}'


def counted(rig: Rig, status: int, code: str = "") -> float:
    """How many answers of a kind were counted."""
    return rig.gateway.desk.metrics.answers.labels("events", status, code)._value.get()  # type: ignore[no-any-return]  # untyped there


def end(rig: Rig, request_id: str, *, stream: bool, tenant: str = "acme") -> None:
    """Write how a request ended."""
    terminal = finished(request_id=request_id, stream=stream, tenant=tenant)
    rig.cluster.append(
        Topic.INFERENCE_RESULTS,
        key=request_id.encode(),
        value=encode_record(terminal),
        headers=[(REQUEST_ID, request_id.encode()), (TENANT, tenant.encode())],
    )


def miss(rig: Rig, request_id: str, *, stream: bool = True) -> None:
    """Write that a request is under way."""
    now_ms = int(rig.cluster.clock.now_ms())
    request = requested(request_id=request_id, stream=stream, deadline_at=now_ms + 60_000)
    value = encode_record(missed(request=request))
    rig.cluster.append(Topic.CACHE_MISSES, key=request_id.encode(), value=value)


@rigged
async def test_events_come_with_ids_and_what_the_first_chunk_says_of_the_answer(rig: Rig) -> None:
    """As a stream that no proxy keeps back."""
    request_id = rig.request_id()
    rig.chunks.write(request_id, 0, payload=b"1\n2", headers={"x-cache": "miss"})
    rig.chunks.write(request_id, 1, ChunkKind.END, payload=b"3")
    sent = await rig.gateway.events(request_id)
    assert sent.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert sent.headers["x-cache"] == "miss"
    assert sent.headers["x-request-id"]
    assert data_lines(sent.body) == [b"data: 1", b"data: 2", b"data: 3", b"data: [DONE]"]
    assert ids(sent.body) == ["0:5:0:0", "0:5:0", "1:5:1:0", "1:5:1"]
    assert counted(rig, 200) == 1


@rigged
async def test_whoever_has_all_gets_nothing_more(rig: Rig) -> None:
    """An empty stream that ends at once, by id and by count, and by a count beyond the end."""
    request_id = rig.request_id()
    rig.chunks.write(request_id, 0, payload=b"1\n2")
    rig.chunks.write(request_id, 1, ChunkKind.END)
    for cursor in ("1:5:1", "4", "5"):
        sent = await rig.gateway.events(request_id, headers={"last-event-id": cursor})
        assert (sent.status, sent.body) == (200, b"")


@rigged
async def test_silence_is_filled_without_harm_to_openais_client(rig: Rig) -> None:
    """Headers within ten seconds, then keep-alives that make no event beside ids."""
    request_id = rig.request_id()
    miss(rig, request_id)
    asked = rig.gateway.ask(f"/v1/requests/{request_id}/events")
    await asyncio.sleep(HEADERS_WITHIN_S + 0.5)
    assert asked.sent.status == 200
    await asyncio.sleep(KEEP_ALIVE_S * 2)
    rig.chunks.write(request_id, 0)
    await asyncio.sleep(KEEP_ALIVE_S * 1.1)
    rig.chunks.write(request_id, 1, ChunkKind.END)
    sent = await asked.answered()
    assert sent.body.count(b": ping\n") == 3
    events = list(SSEDecoder().iter_bytes(iter([sent.body])))
    assert [event.data for event in events] == ['{"n":0}', '{"n":1}', "[DONE]"]


@pytest.mark.parametrize("chunks", [0, 1])
def test_a_stream_past_its_deadline_ends_with_an_error(chunks: int) -> None:
    """As for the client that asked."""

    @rigged
    async def run(rig: Rig) -> None:
        request_id = rig.request_id()
        miss(rig, request_id)
        for seq in range(chunks):
            rig.chunks.write(request_id, seq)
        began_ms = rig.cluster.clock.now_ms()
        sent = await rig.gateway.events(request_id)
        assert b"deadline_exceeded" in data_lines(sent.body)[-1]
        waited_ms = rig.cluster.clock.now_ms() - began_ms
        assert waited_ms == pytest.approx(60_000 + GRACE_MS, abs=100)

    run()


@rigged
async def test_an_old_stream_is_whole_though_its_deadline_is_long_past(rig: Rig) -> None:
    """Also for a client that reads slowly, for whom parts of it are read again."""
    request_id = rig.request_id()
    for seq in range(30):
        rig.chunks.write(request_id, seq, payload=b"x" * 20_000)
    rig.chunks.write(request_id, 30, ChunkKind.END)
    await asyncio.sleep(1_000)
    parts: list[bytes] = []

    async def slowly(message: object) -> None:
        await asyncio.sleep(1)
        parts.append(message.get("body", b""))  # type: ignore[attr-defined]  # ASGI's

    await rig.gateway.ask(f"/v1/requests/{request_id}/events", send=slowly).answered()
    assert len(data_lines(b"".join(parts))) == 32


@rigged
async def test_an_error_of_the_request_is_an_error_answer_or_an_event(rig: Rig) -> None:
    """An answer for who has seen nothing; for who goes on it is the line that is left."""
    request_id = rig.request_id()
    rig.chunks.write(request_id, 0, ChunkKind.ERROR, payload=ERROR, status=502)
    sent = await rig.gateway.events(request_id)
    assert (sent.status, sent.error["code"]) == (502, "provider_error")
    begun = rig.request_id()
    offset = rig.chunks.write(begun, 0)
    rig.chunks.write(begun, 1, ChunkKind.ERROR, payload=ERROR, status=502)
    for cursor in (f"0:5:{offset}", "1"):
        sent = await rig.gateway.events(begun, headers={"last-event-id": cursor})
        assert (sent.status, data_lines(sent.body)) == (200, [b"data: " + ERROR])
    sent = await rig.gateway.events(begun, headers={"last-event-id": ids(sent.body)[-1]})
    assert (sent.status, sent.body) == (200, b"")


@pytest.mark.parametrize("cursor", ["x", "1:2", "7:5:0", "0:5:99", "0:3:0"])
def test_a_cursor_that_is_no_place_in_the_stream_is_refused(cursor: str) -> None:
    """400, by header and by query alike."""

    @rigged
    async def run(rig: Rig) -> None:
        request_id = rig.request_id()
        rig.chunks.whole(request_id)
        for options in (
            {"headers": {"last-event-id": cursor}},
            {"query": f"starting_after={cursor}"},
        ):
            sent = await rig.gateway.events(request_id, **options)
            assert (sent.status, sent.error["code"]) == (400, "invalid_cursor")
            assert sent.error["param"] == "starting_after"
        assert counted(rig, 400, "invalid_cursor") == 2
        assert rig.gateway.streams.count == 0

    run()


@rigged
async def test_nobody_follows_without_a_key(rig: Rig) -> None:
    """Whether there is such a stream is not told."""
    request_id = rig.request_id()
    rig.chunks.whole(request_id)
    sent = await rig.gateway.events(request_id, key=STRANGER_KEY)
    assert (sent.status, sent.error["code"]) == (401, "invalid_api_key")


@rigged
async def test_what_has_no_chunks_is_told_by_its_records(rig: Rig) -> None:
    """Ended: expired, or no stream; under way and no stream: the same; of others: unknown."""
    ended, unstreamed, running = (rig.request_id() for _ in range(3))
    end(rig, ended, stream=True)
    end(rig, unstreamed, stream=False)
    miss(rig, running, stream=False)
    for request_id, status, code in (
        (ended, 410, "stream_expired"),
        (unstreamed, 400, "unsupported_value"),
        (running, 400, "unsupported_value"),
    ):
        sent = await rig.gateway.events(request_id)
        assert (sent.status, sent.error["code"]) == (status, code)
        sent = await rig.gateway.events(request_id, key=OTHER_KEY)
        assert (sent.status, sent.error["code"]) == (404, "not_found")


def test_a_stream_expires_when_its_first_chunk_is_older_than_the_retention() -> None:
    """To the millisecond, though the log still has it all; whoever reads already reads on."""

    async def run(clock: FakeClock) -> None:
        cluster = MemoryCluster(clock, topics=PARTITIONS)
        gateway = await Gateway(cluster, partition=OWN, retention_s=MIN_STREAM_RETENTION_S).start()
        chunks = Chunks(cluster)
        rig = Rig(clock)
        ended, running = rig.request_id(), rig.request_id()
        chunks.whole(ended)
        chunks.write(running, 0)
        await asyncio.sleep(MIN_STREAM_RETENTION_S - 0.001)
        assert (await gateway.events(ended)).status == 200
        reading = gateway.ask(f"/v1/requests/{running}/events")
        await reading.sent.has_parts()
        await asyncio.sleep(0.002)
        for request_id in (ended, running):
            for headers in ({}, {"last-event-id": "2"}, {"last-event-id": "0:5:0"}):
                gone = await gateway.events(request_id, headers=headers)
                assert (gone.status, gone.error["code"]) == (410, "stream_expired")
                assert gone.headers["location"] == f"/v1/requests/{request_id}"
            assert (await gateway.events(request_id, key=OTHER_KEY)).status == 404
        chunks.write(running, 1, ChunkKind.END)
        assert data_lines((await reading.answered()).body)[-1] == b"data: [DONE]"
        await gateway.stop()

    run_on_fake_time(run)


@rigged
async def test_chunks_that_come_just_after_the_end_are_waited_for(rig: Rig) -> None:
    """The terminal record may be seen before the chunks that lie before it in time."""
    request_id = rig.request_id()
    end(rig, request_id, stream=True)
    asked = rig.gateway.ask(f"/v1/requests/{request_id}/events")
    await asyncio.sleep(events_api.ENDED_WITHIN_S / 2)
    rig.chunks.whole(request_id)
    assert len(data_lines((await asked.answered()).body)) == 5


@pytest.mark.parametrize("seconds_away", [1, 60])
def test_a_stream_whose_readers_are_behind_has_not_expired(seconds_away: int) -> None:
    """Who comes before the chunks can be read again is told to come again."""

    @rigged
    async def run(rig: Rig) -> None:
        request_id = rig.request_id()
        end(rig, request_id, stream=True)
        rig.cluster.unreadable.add(Topic.RESULT_CHUNKS)
        asked = rig.gateway.ask(f"/v1/requests/{request_id}/events")
        await asyncio.sleep(events_api.ENDED_WITHIN_S / 2)
        rig.chunks.whole(request_id)
        await asyncio.sleep(events_api.ENDED_WITHIN_S + seconds_away)
        rig.cluster.unreadable.clear()
        sent = await asked.answered()
        assert (sent.status, sent.error["code"]) == (503, "upstream_unavailable")
        assert rig.gateway.streams.count == 0

    run()


@rigged
async def test_a_producers_request_has_no_events(rig: Rig) -> None:
    """It has no reply partition: its owner is told where its answer is, others nothing."""
    request_id = rig.request_id(NO_REPLY)
    end(rig, request_id, stream=True)
    sent = await rig.gateway.events(request_id)
    assert (sent.status, sent.error["code"]) == (400, "unsupported_value")
    assert (await rig.gateway.events(request_id, key=OTHER_KEY)).status == 404
    assert (await rig.gateway.events(rig.request_id(NO_REPLY))).status == 404


@rigged
async def test_a_log_that_is_away_is_said(rig: Rig) -> None:
    """503 within the time of a head; nothing stays behind."""
    request_id = rig.request_id()
    rig.chunks.whole(request_id)
    rig.cluster.stop_broker()
    sent = await rig.gateway.events(request_id)
    assert (sent.status, sent.error["code"]) == (503, "upstream_unavailable")
    assert rig.gateway.streams.count == 0


def test_a_key_follows_only_so_many_streams_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """One more is told to come again; when one ends, there is room, and others are not touched."""
    monkeypatch.setattr(events_api, "MAX_STREAMS_PER_KEY", 20)
    rigged(_follow_many)()


async def _follow_many(rig: Rig) -> None:
    most = events_api.MAX_STREAMS_PER_KEY
    request_id = rig.request_id()
    rig.chunks.write(request_id, 0)
    exchange = FakeExchange()
    path = f"/v1/requests/{request_id}/events"
    first = rig.gateway.ask(path, exchange=exchange)
    others = [rig.gateway.ask(path) for _ in range(most - 1)]
    await asyncio.sleep(1)
    refused = await rig.gateway.events(request_id)
    assert (refused.status, refused.error["code"]) == (429, "rate_limit_exceeded")
    assert refused.headers["retry-after"] == "1"
    assert (await rig.gateway.events(request_id, key=OTHER_KEY)).status == 404
    exchange.leave()
    await first.answered()
    assert counted(rig, 499, "client_gone") == 1
    again = rig.gateway.ask(path)
    await asyncio.sleep(1)
    rig.chunks.write(request_id, 1, ChunkKind.END)
    for asked in (again, *others):
        assert len(data_lines((await asked.answered()).body)) == 3
    assert rig.gateway.streams.count == 0


@rigged
async def test_a_client_that_leaves_while_it_is_written_to_leaves_nothing_behind(rig: Rig) -> None:
    """The front door says so by an exception, which is no fault of ours."""

    async def send(_message: object) -> None:
        raise ClientGone

    request_id = rig.request_id()
    rig.chunks.whole(request_id)
    await rig.gateway.ask(f"/v1/requests/{request_id}/events", key=KEY, send=send).answered()
    assert counted(rig, 499, "client_gone") == 1
    assert rig.gateway.streams.count == 0


@rigged
async def test_a_joiner_under_way_has_a_state_and_can_be_cancelled(rig: Rig) -> None:
    """It has no record of its own but the chunk that says so; to others it never was."""
    joiner = rig.request_id()
    accepted_at = int(rig.cluster.clock.now_ms())
    rig.chunks.join(joiner, rig.request_id())
    state = await rig.gateway.ask(f"/v1/requests/{joiner}").answered()
    assert state.status == 200
    assert state.document == {
        "id": joiner,
        "object": "millrace.request",
        "status": "in_progress",
        "accepted_at": accepted_at,
        "deadline_at": accepted_at + 60_000,
    }
    for path, method in (
        (f"/v1/requests/{joiner}", "GET"),
        (f"/v1/requests/{joiner}/cancel", "POST"),
    ):
        other = await rig.gateway.ask(path, method=method, key=OTHER_KEY).answered()
        assert (other.status, other.error["code"]) == (404, "not_found")
    assert rig.cluster.records(Topic.CONTROL) == []
    told = await rig.gateway.ask(f"/v1/requests/{joiner}/cancel", method="POST").answered()
    assert (told.status, told.document) == (202, state.document)
    (raw,) = rig.cluster.records(Topic.CONTROL)
    control = decode_record(raw.value or b"", ControlRequested)
    assert (control.action, control.request_id, control.tenant) == ("cancel", joiner, "acme")
    assert (control.reason, control.holder) == ("asked", "")
    assert rig.gateway.streams.count == 0
