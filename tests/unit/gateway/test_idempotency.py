"""Requests with an ``Idempotency-Key`` at two gateways that share a log."""

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from services.gateway.asgi import Request
from services.gateway.claims import HEADER
from services.gateway.desk import Desk
from services.gateway.idempotency import (
    APPEARS_WITHIN_MS,
    FIRST_CHUNK_S,
    LOOK_EVERY_S,
    MS_PER_S,
)
from services.gateway.inference import inference
from services.gateway.sse import DONE
from services.shared.domain.claims import HOLD_MS, SLACK_MS
from services.shared.domain.errors import PublicError
from services.shared.domain.events import (
    ChunkKind,
    Failure,
    InferenceFinished,
    InferenceRequested,
    ModelCall,
    Operation,
    Outcome,
    ResultChunk,
)
from services.shared.domain.ids import RANDOM_BYTES, new_request_id
from tests.support.claims import STREAMS_KEPT_MS, FakeBook, FakeStreams, idempotency_of
from tests.support.example_events import missed
from tests.support.fake_clock import clock_of_loop
from tests.support.gateway_desk import (
    KEY,
    OTHER_KEY,
    REPLY_PARTITION,
    FakeExchange,
    FakeFinder,
    FakePublisher,
    Sent,
    chat_request,
    chunk,
    deliver,
    desk_of,
    error_chunk_of,
    on_fake_time,
    settled,
)

ANSWER = b'{"object":"chat.completion"}'
BUSY = PublicError(code="server_is_overloaded", message="Later.", retry_after_ms=1000)
BROKEN = PublicError(code="provider_error", message="It broke.")
CALL = ModelCall(
    attempt=1, provider="s", model="m", started_ms=0.0, first_chunk_ms=-1.0, finished_ms=1.0
)
APPEARS_WITHIN_S = APPEARS_WITHIN_MS / MS_PER_S
STREAMS_KEPT_S = STREAMS_KEPT_MS / MS_PER_S


class Two:
    """Two gateways on one log.

    Attributes:
        book: The claims.
        streams: The chunks, as every gateway may read them.
        finder: What the other topics know.
        publisher: What entered the pipeline.
    """

    def __init__(self) -> None:
        """Begin with an empty log."""
        self.clock = clock_of_loop()
        self.book = FakeBook(self.clock)
        self.streams = FakeStreams()
        self.finder = FakeFinder()
        self.publisher = FakePublisher()
        self.desks = [self._desk(), self._desk()]
        self._count = 0

    def _desk(self) -> Desk:
        idempotency = idempotency_of(
            book=self.book,
            finder=self.finder,
            publisher=self.publisher,
            clock=self.clock,
            streams=self.streams,
        )
        desk = desk_of(self.clock, self.publisher)
        return msgspec.structs.replace(desk, idempotency=idempotency)

    def post(
        self,
        key: str = "k",
        *,
        gateway: int = 0,
        exchange: FakeExchange | None = None,
        virtual_key: str = KEY,
        **fields: Any,
    ) -> "Posted":
        """Send a request with a key."""
        headers = {HEADER.decode(): key}
        request = chat_request(headers, key=virtual_key, exchange=exchange, **fields)
        return self.send(request, gateway=gateway)

    def send(self, request: Request, *, gateway: int = 0) -> "Posted":
        """Send a request."""
        self._count += 1
        request.id = new_request_id(
            now_ms=int(self.clock.now_ms()),
            random=self._count.to_bytes(RANDOM_BYTES, "big"),
            reply_partition=REPLY_PARTITION,
        )
        return Posted(self.desks[gateway], request)

    def answer(self, *chunks: ResultChunk) -> None:
        """Let chunks arrive wherever they are waited for."""
        self.streams.deliver(*chunks)
        for desk in self.desks:
            deliver(desk.replies, *chunks)

    @property
    def only(self) -> InferenceRequested:
        """The one request that entered the pipeline."""
        (published,) = self.publisher.published
        return published

    def counted(self, outcome: str) -> float:
        """How many requests came to this."""
        counters = [desk.idempotency._metrics.requests.labels(outcome) for desk in self.desks]
        return sum(float(counter._value.get()) for counter in counters)


class Posted:
    """A request being answered.

    Attributes:
        id: Its own id.
        sent: What its client has got.
    """

    def __init__(self, desk: Desk, request: Request) -> None:
        """Begin to answer."""
        self.id = request.id
        self.sent = Sent()
        self._task = asyncio.ensure_future(inference(Operation.CHAT, desk)(request, self.sent))

    async def end(self) -> Sent:
        """Wait for the answer."""
        await self._task
        return self.sent


def end_of(request_id: str, payload: bytes = ANSWER) -> ResultChunk:
    """The whole answer of a request."""
    return chunk(0, ChunkKind.END, request_id=request_id, payload=payload)


def finished(request_id: str, **changes: Any) -> InferenceFinished:
    """The terminal record of a request that was answered now."""
    fields: dict[str, Any] = {
        "request_id": request_id,
        "outcome": Outcome.COMPLETED.value,
        "finished_at": int(clock_of_loop().now_ms()),
        "response": ANSWER,
    }
    return InferenceFinished(**{**fields, **changes})


def refused(request_id: str, **changes: Any) -> InferenceFinished:
    """The terminal record of a request that was refused now, before any call."""
    failure = Failure(code=BUSY.code, message=BUSY.message, status=503)
    fields: dict[str, Any] = {"outcome": Outcome.FAILED.value, "response": b"", "error": failure}
    return finished(request_id, **{**fields, **changes})


async def ask_and_answer(two: Two, **fields: Any) -> Posted:
    """A first request with the key, answered whole."""
    first = two.post(**fields)
    await settled()
    two.answer(end_of(first.id))
    await first.end()
    return first


@on_fake_time
async def test_a_first_request_runs_as_any_other() -> None:
    """Its claim names it; its answer says nothing of a replay."""
    two = Two()
    first = await ask_and_answer(two)
    assert two.only.request_id == first.id
    assert two.book.claimed[0].request_id == first.id
    assert (first.sent.status, first.sent.body) == (200, ANSWER)
    assert "idempotency-replayed" not in first.sent.headers
    assert two.counted("claimed") == 1


@pytest.mark.parametrize("gateway", [0, 1])
@on_fake_time
async def test_the_same_request_gets_the_same_answer(gateway: int) -> None:
    """Byte for byte, from any gateway, under the first one's id, and nothing runs again."""
    two = Two()
    first = await ask_and_answer(two)
    again = await two.post('"k"', gateway=gateway).end()
    assert (again.status, again.body) == (200, ANSWER)
    assert again.headers["x-request-id"] == first.id
    assert again.headers["idempotency-replayed"] == "true"
    assert len(two.publisher.published) == len(two.book.claimed) == 1
    assert two.streams.attached == []
    assert two.counted("replayed") == 1


@on_fake_time
async def test_a_hundred_at_once_are_one() -> None:
    """Over two gateways: one execution, a hundred equal answers, ninety-nine of them replayed."""
    two = Two()
    posts = [two.post(gateway=number % 2) for number in range(100)]
    await settled()
    two.answer(end_of(two.only.request_id))
    answers = [await post.end() for post in posts]
    assert {(each.status, each.body) for each in answers} == {(200, ANSWER)}
    assert {each.headers["x-request-id"] for each in answers} == {two.only.request_id}
    assert sum("idempotency-replayed" in each.headers for each in answers) == 99


@on_fake_time
async def test_a_running_stream_is_attached_to() -> None:
    """From its first token on, live, with the same events and the same end."""
    two = Two()
    first = two.post(stream=True)
    await settled()
    two.answer(chunk(0, request_id=first.id), chunk(1, request_id=first.id))
    again = two.post(gateway=1, stream=True)
    await settled()
    assert again.sent.body == first.sent.body == b'data: {"n":0}\n\ndata: {"n":1}\n\n'
    two.answer(chunk(2, ChunkKind.END, request_id=first.id))
    assert (await again.end()).body == (await first.end()).body
    assert again.sent.body.endswith(DONE)
    assert again.sent.headers["idempotency-replayed"] == "true"


@pytest.mark.parametrize("fields", [{"stream": True}, {"temperature": 0.5}, {"model": "large"}])
@on_fake_time
async def test_another_request_with_the_key_is_refused(fields: dict[str, Any]) -> None:
    """Whatever differs in the body; the first request goes on."""
    two = Two()
    first = two.post()
    await settled()
    other = await two.post(gateway=1, **fields).end()
    assert (other.status, other.error["code"]) == (422, "idempotency_key_reused")
    assert other.headers["x-should-retry"] == "false"
    two.answer(end_of(first.id))
    assert (await first.end()).status == 200
    assert two.counted("idempotency_key_reused") == 1


@on_fake_time
async def test_another_tenant_has_keys_of_its_own() -> None:
    """The same key and the same body of another tenant is another request."""
    two = Two()
    first = await ask_and_answer(two)
    other = two.post(virtual_key=OTHER_KEY)
    await settled()
    two.answer(end_of(other.id, b"{}"))
    assert (await other.end()).body == b"{}"
    assert [each.request_id for each in two.publisher.published] == [first.id, other.id]


@pytest.mark.parametrize("values", [[""], ["x" * 256], ["schlüssel"], ["a b"], ["k", "k"]])
@on_fake_time
async def test_what_is_no_key_is_refused(values: list[str]) -> None:
    """Before the body is read, and without a claim."""
    two = Two()
    request = chat_request()
    lines = [(HEADER, value.encode("latin-1")) for value in values]
    request.scope["headers"] = [*request.scope["headers"], *lines]
    sent = await two.send(request).end()
    assert (sent.status, sent.error["code"]) == (400, "invalid_header")
    assert not two.book.claimed
    assert not two.publisher.published


@on_fake_time
async def test_a_request_that_is_refused_at_the_door_claims_nothing() -> None:
    """The corrected request may use its key."""
    two = Two()
    assert (await two.post(temperature=9).end()).status == 400
    assert two.book.claimed == []
    await ask_and_answer(two)
    assert len(two.publisher.published) == 1


@on_fake_time
async def test_without_the_log_of_claims_a_key_is_not_accepted() -> None:
    """Rather no answer than a second one; requests without a key are answered."""
    two = Two()
    two.book.is_away = True
    refused_one = await two.post().end()
    assert (refused_one.status, refused_one.error["code"]) == (503, "upstream_unavailable")
    assert refused_one.headers["retry-after"] == "2"
    assert two.publisher.published == []
    plain = two.send(chat_request())
    await settled()
    two.answer(end_of(plain.id))
    assert (await plain.end()).status == 200


@on_fake_time
async def test_when_no_more_keys_can_be_held_only_known_ones_are_answered() -> None:
    """What was promised is kept; what cannot be promised is refused."""
    two = Two()
    first = await ask_and_answer(two)
    two.book.is_full = True
    new = await two.post("other").end()
    assert (new.status, new.error["code"]) == (503, "server_is_overloaded")
    assert (await two.post().end()).headers["x-request-id"] == first.id


@on_fake_time
async def test_an_error_that_a_call_had_is_replayed() -> None:
    """What was paid for, or may have been, is not tried again under the same key."""
    two = Two()
    first = two.post()
    await settled()
    two.answer(error_chunk_of(BROKEN, request_id=first.id))
    again = await two.post(gateway=1).end()
    assert (again.status, again.body) == ((await first.end()).status, first.sent.body)
    assert again.status == 502
    assert len(two.publisher.published) == 1


@on_fake_time
async def test_a_refusal_before_any_call_frees_the_key() -> None:
    """Who asks again once it has ended runs, by one claim that takes the key over."""
    two = Two()
    first = two.post()
    await settled()
    two.answer(error_chunk_of(BUSY, request_id=first.id, attempt=0, run=""))
    assert (await first.end()).status == 503
    two.finder.terminal = refused(first.id)
    await asyncio.sleep(1)
    posts = [two.post(gateway=number % 2) for number in range(10)]
    await settled()
    _, second = two.publisher.published
    assert second.request_id in {post.id for post in posts}
    assert two.book.claimed[1].takes_over == first.id
    two.answer(end_of(second.request_id))
    assert {(await post.end()).body for post in posts} == {ANSWER}


@on_fake_time
async def test_who_waited_for_a_refusal_gets_it() -> None:
    """All who were attached when it came are told the same, and none of them tries again."""
    two = Two()
    first = two.post()
    again = two.post(gateway=1)
    await asyncio.sleep(1)
    two.finder.terminal = refused(first.id)
    two.answer(error_chunk_of(BUSY, request_id=first.id, attempt=0, run=""))
    assert (await first.end()).status == 503
    assert (await again.end()).body == first.sent.body
    assert len(two.publisher.published) == 1


@on_fake_time
async def test_others_may_always_be_quicker() -> None:
    """A key that is freed and taken time and again ends in 503, not in a loop."""
    two = Two()
    first = two.post()
    await settled()
    two.answer(error_chunk_of(BUSY, request_id=first.id, attempt=0, run=""))
    await first.end()
    two.finder.terminal = refused(first.id)
    two.book.rival = two.book.find(two.book.claimed[0].key_hash)
    sent = await two.post().end()
    assert (sent.status, sent.error["code"]) == (503, "upstream_unavailable")
    assert two.streams.attached == []


@on_fake_time
async def test_a_stream_is_the_same_for_as_long_as_streams_are_kept() -> None:
    """Its chunks come before its terminal record up to the last second."""
    two = Two()
    first = two.post(stream=True)
    await settled()
    two.answer(chunk(0, request_id=first.id), chunk(1, ChunkKind.END, request_id=first.id))
    two.finder.terminal = finished(first.id, calls=(CALL,))
    await asyncio.sleep(STREAMS_KEPT_S - 1)
    assert (await two.post(gateway=1, stream=True).end()).body == (await first.end()).body
    assert two.finder.asked == []


@pytest.mark.parametrize("stream", [False, True])
@on_fake_time
async def test_an_old_answer_comes_from_its_terminal_record(*, stream: bool) -> None:
    """When the chunks are gone the stored answer is given: whole, or as a stream."""
    two = Two()
    first = await ask_and_answer(two, stream=stream)
    two.streams.forget()
    message = {"role": "assistant", "content": "Deep."}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    response = msgspec.json.encode({"id": "chatcmpl-x", "model": "m", "choices": [choice]})
    two.finder.terminal = finished(first.id, response=response, calls=(CALL,))
    await asyncio.sleep(STREAMS_KEPT_S)
    again = await two.post(gateway=1, stream=stream).end()
    assert (again.status, again.headers["x-request-id"]) == (200, first.id)
    assert again.headers["idempotency-replayed"] == "true"
    if stream:
        assert again.body.endswith(DONE)
        assert b'"content":"Deep."' in again.body
    else:
        assert again.body == response
    assert len(two.publisher.published) == 1


@on_fake_time
async def test_chunks_that_are_gone_early_are_no_harm() -> None:
    """A log that keeps them for less time: nothing comes, so the terminal record is looked for."""
    two = Two()
    first = await ask_and_answer(two)
    two.streams.forget()
    two.finder.terminal = finished(first.id)
    await asyncio.sleep(60)
    again = two.post(gateway=1)
    await asyncio.sleep(FIRST_CHUNK_S + 0.1)
    assert (await again.end()).body == ANSWER


@pytest.mark.parametrize("is_away", [False, True])
@on_fake_time
async def test_a_stream_that_begins_during_the_search_goes_on(*, is_away: bool) -> None:
    """Neither the terminal record nor word of an outage ends what its own chunks will end."""
    two = Two()
    first = two.post(stream=True)
    await settled()
    again = two.post(gateway=1, stream=True)
    two.finder.is_away = is_away
    two.finder.terminal = finished(first.id)
    two.finder.takes_s = 1.0
    await asyncio.sleep(APPEARS_WITHIN_S + 0.5)
    two.answer(chunk(0, request_id=first.id))
    await asyncio.sleep(APPEARS_WITHIN_S)
    two.answer(chunk(1, ChunkKind.END, request_id=first.id))
    assert (await again.end()).body == (await first.end()).body
    assert again.sent.body.endswith(DONE)


@on_fake_time
async def test_a_claim_without_a_request_is_run_under_its_own_id() -> None:
    """Its gateway died in between: after ten seconds who waits publishes it, once for all."""
    two = Two()
    two.publisher.is_away = True
    first = await two.post().end()
    assert (first.status, first.error["code"]) == (503, "upstream_unavailable")
    two.publisher.is_away = False
    posts = [two.post() for _ in range(5)]
    await asyncio.sleep(APPEARS_WITHIN_S - 0.1)
    assert two.publisher.published == []
    await asyncio.sleep(0.2)
    assert two.only.request_id == two.book.claimed[0].request_id
    assert two.only.reply_partition == REPLY_PARTITION
    two.answer(end_of(two.only.request_id))
    assert {(await post.end()).body for post in posts} == {ANSWER}
    assert len(two.book.claimed) == 1


@on_fake_time
async def test_an_old_claim_without_a_request_is_run_too() -> None:
    """Its chunks may be past reading, so its answer comes from the terminal record."""
    two = Two()
    two.publisher.is_away = True
    await two.post().end()
    two.publisher.is_away = False
    await asyncio.sleep(STREAMS_KEPT_S)
    again = two.post(gateway=1)
    await asyncio.sleep(5 * LOOK_EVERY_S)
    request_id = two.only.request_id
    assert request_id == two.book.claimed[0].request_id
    two.finder.terminal = finished(request_id)
    assert (await again.end()).body == ANSWER
    assert two.streams.attached == []


@on_fake_time
async def test_a_request_that_has_been_seen_is_not_published_again() -> None:
    """It is in the pipeline, if slow: its answer is waited for."""
    two = Two()
    first = two.post()
    await settled()
    two.finder.miss = missed()
    again = two.post(gateway=1)
    await asyncio.sleep(2 * APPEARS_WITHIN_S)
    two.answer(end_of(first.id))
    assert (await again.end()).body == ANSWER
    assert len(two.publisher.published) == 1


@on_fake_time
async def test_a_request_that_has_begun_to_answer_is_not_looked_for() -> None:
    """Chunks that come late are enough."""
    two = Two()
    first = two.post(stream=True)
    await settled()
    again = two.post(gateway=1, stream=True)
    await asyncio.sleep(APPEARS_WITHIN_S / 2)
    two.answer(chunk(0, request_id=first.id))
    await asyncio.sleep(APPEARS_WITHIN_S)
    assert two.finder.asked == []
    two.answer(chunk(1, ChunkKind.END, request_id=first.id))
    assert (await again.end()).body == (await first.end()).body


def _no_terminal(two: Two) -> None:
    two.finder.is_away = True


def _no_publication(two: Two) -> None:
    two.publisher.is_away = True


@pytest.mark.parametrize("break_it", [_no_terminal, _no_publication])
@on_fake_time
async def test_who_waits_for_what_cannot_be_published_is_told(
    break_it: Callable[[Two], None],
) -> None:
    """With 503 and when to try again, instead of waiting until the deadline."""
    two = Two()
    two.publisher.is_away = True
    await two.post().end()
    two.publisher.is_away = False
    again = two.post(gateway=1)
    break_it(two)
    sent = await again.end()
    assert (sent.status, sent.error["code"]) == (503, "upstream_unavailable")
    assert sent.headers["retry-after"] == "2"


@on_fake_time
async def test_a_client_that_leaves_takes_nobody_with_it() -> None:
    """One who was attached leaves; the first and the others get their answer."""
    two = Two()
    first = two.post()
    leaving = FakeExchange()
    gone = two.post(gateway=1, exchange=leaving)
    again = two.post(gateway=1)
    await asyncio.sleep(FIRST_CHUNK_S + 1)
    leaving.leave()
    assert not (await gone.end()).has_begun
    assert len(two.streams.attached) == 1
    two.answer(end_of(first.id))
    assert (await first.end()).body == (await again.end()).body == ANSWER


@on_fake_time
async def test_a_client_that_is_gone_before_it_is_attached_gets_nothing() -> None:
    """And leaves nothing behind."""
    two = Two()
    first = two.post()
    await settled()
    exchange = FakeExchange()
    gone = two.post(gateway=1, exchange=exchange)
    await settled()
    exchange.leave()
    two.answer(end_of(first.id))
    assert not (await gone.end()).has_begun
    assert two.streams.attached == []
    await first.end()


@on_fake_time
async def test_a_day_later_a_key_is_new() -> None:
    """The same key then stands for another request."""
    two = Two()
    first = await ask_and_answer(two)
    await asyncio.sleep((HOLD_MS + SLACK_MS) / MS_PER_S)
    second = await ask_and_answer(two)
    assert [each.request_id for each in two.publisher.published] == [first.id, second.id]
