"""Ask, wait, answer: with a publisher that is no Kafka and chunks that come when a test says so."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from services.gateway.asgi import Request, Send
from services.gateway.desk import Desk
from services.gateway.event_stream import GRACE_MS, HEADERS_WITHIN_S, KEEP_ALIVE_S
from services.gateway.front_door.exchange import ClientGone
from services.gateway.inference import inference
from services.gateway.sse import DONE, KEEP_ALIVE, KEEP_ALIVE_BESIDE_IDS
from services.gateway.waiter import RIVAL_GRACE_S
from services.shared.domain.errors import PublicError
from services.shared.domain.events import ChunkKind, Operation
from tests.support.fake_clock import clock_of_loop
from tests.support.gateway_desk import (
    CHAT,
    HASTY_KEY,
    KEY,
    REPLY_PARTITION,
    REQUEST_ID,
    STRANGER_KEY,
    FakeControls,
    FakeExchange,
    FakePublisher,
    Sent,
    chat_request,
    chunk,
    deliver,
    desk_of,
    error_chunk_of,
    http_request,
    on_fake_time,
    settled,
)

LIMITED = PublicError(
    code="provider_rate_limited", message="Slow down.", retry_after_ms=2500, upstream_status=429
)
ANSWER = b'{"object":"chat.completion"}'


class Talk:
    """One request being answered.

    Attributes:
        sent: What its client has got.
        publisher: What entered the pipeline.
        controls: What those who run requests were told.
        desk: The gateway's desk.
    """

    def __init__(
        self, request: Request, *, is_away: bool = False, send: Send | None = None
    ) -> None:
        """Begin to answer."""
        self.sent = Sent()
        self.publisher = FakePublisher()
        self.publisher.is_away = is_away
        self.controls = FakeControls()
        self.desk: Desk = desk_of(clock_of_loop(), self.publisher, controls=self.controls)
        handler = inference(Operation.CHAT, self.desk)
        self._task = asyncio.ensure_future(handler(request, send or self.sent))

    async def end(self) -> None:
        """Wait until the handler returns."""
        await self._task

    @property
    def is_over(self) -> bool:
        """Whether the handler has returned."""
        return self._task.done()

    def counted(self, status: int, code: str = "") -> float:
        """How many answers of a kind were counted."""
        counter = self.desk.metrics.answers.labels("chat", status, code)
        return counter._value.get()  # type: ignore[no-any-return]  # untyped there


@contextlib.asynccontextmanager
async def talk(
    request: Request, *, is_away: bool = False, send: Send | None = None
) -> AsyncIterator[Talk]:
    """A request that has been published; at the end its handler must have forgotten it."""
    talking = Talk(request, is_away=is_away, send=send)
    await settled()
    yield talking
    await talking.end()
    assert talking.desk.replies.count == 0


@on_fake_time
async def test_an_answer_comes_whole_with_its_headers() -> None:
    """Status, body and the stages' headers arrive as they were made; id and time are added."""
    async with talk(chat_request()) as talking:
        assert not talking.sent.has_begun, "nothing is said before the pipeline has answered"
        await asyncio.sleep(0.25)
        deliver(
            talking.desk.replies,
            chunk(0, ChunkKind.END, payload=ANSWER, headers={"x-cache": "miss"}),
        )
        await talking.end()
        assert talking.sent.status == 200
        assert talking.sent.body == ANSWER
        assert talking.sent.headers == {
            "content-type": "application/json",
            "content-length": str(len(ANSWER)),
            "x-request-id": REQUEST_ID,
            "openai-processing-ms": "250",
            "x-cache": "miss",
        }
        assert talking.counted(200) == 1
    (published,) = talking.publisher.published
    assert published.request_id == REQUEST_ID


@pytest.mark.parametrize("stream", [False, True])
@on_fake_time
async def test_an_error_before_any_output_is_an_error_answer(*, stream: bool) -> None:
    """Also of a stream: nothing was sent yet, so the status can still say it."""
    async with talk(chat_request(stream=stream)) as talking:
        headers = {"retry-after": "3", "x-should-retry": "true", "x-cache": "miss"}
        deliver(talking.desk.replies, error_chunk_of(LIMITED, headers=headers))
        await talking.end()
        assert (talking.sent.status, talking.sent.error["code"]) == (429, "provider_rate_limited")
        assert talking.sent.headers["content-type"] == "application/json"
        assert headers.items() <= talking.sent.headers.items()
        assert talking.counted(429, "provider_rate_limited") == 1


@on_fake_time
async def test_a_refusal_is_published_to_nobody() -> None:
    """What is refused at the door never enters the pipeline; the reason is counted."""
    async with talk(chat_request(key=STRANGER_KEY)) as talking:
        await talking.end()
        assert (talking.sent.status, talking.sent.error["code"]) == (401, "invalid_api_key")
        assert talking.sent.headers["www-authenticate"].startswith("Bearer")
        assert talking.sent.headers["x-request-id"] == REQUEST_ID
        assert talking.publisher.published == []
        assert talking.counted(401, "invalid_api_key") == 1


@pytest.mark.parametrize("stream", [False, True])
@on_fake_time
async def test_nothing_is_accepted_while_kafka_is_away(*, stream: bool) -> None:
    """A request is acknowledged only after Kafka acknowledged it: else 503 and when to retry."""
    async with talk(chat_request(stream=stream), is_away=True) as talking:
        await talking.end()
        assert (talking.sent.status, talking.sent.error["code"]) == (503, "upstream_unavailable")
        assert talking.sent.headers["retry-after"] == "2"
        assert talking.sent.headers["x-should-retry"] == "true"
        assert talking.counted(503, "upstream_unavailable") == 1


@on_fake_time
async def test_a_stream_is_written_event_by_event() -> None:
    """One write a chunk; the last one carries its fragments and [DONE] together."""
    async with talk(chat_request(stream=True)) as talking:
        first = chunk(0, headers={"x-cache": "miss", "x-millrace-attempts": "1"})
        deliver(talking.desk.replies, first)
        await settled()
        assert talking.sent.status == 200
        assert talking.sent.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert talking.sent.headers["cache-control"] == "no-cache"
        assert talking.sent.headers["x-accel-buffering"] == "no"
        assert talking.sent.headers["x-cache"] == "miss"
        assert talking.sent.parts == [b'data: {"n":0}\n\n']
        deliver(
            talking.desk.replies,
            chunk(1, payload=b'{"n":1}\n{"n":2}'),
            chunk(2, ChunkKind.END, payload=b'{"n":3}'),
        )
        await talking.end()
        assert talking.sent.parts[1:] == [
            b'data: {"n":1}\n\ndata: {"n":2}\n\n',
            b'data: {"n":3}\n\ndata: [DONE]\n\n',
        ]
        assert talking.counted(200) == 1


@on_fake_time
async def test_an_error_in_a_stream_is_its_last_event() -> None:
    """No [DONE] follows: whoever reads on must see that the answer is not whole."""
    async with talk(chat_request(stream=True)) as talking:
        deliver(talking.desk.replies, chunk(0), error_chunk_of(LIMITED, 1))
        await talking.end()
        assert talking.sent.parts[-1].startswith(b'data: {"error":{')
        assert DONE not in talking.sent.body
        assert talking.sent.is_complete
        assert talking.counted(200, "provider_rate_limited") == 1


@on_fake_time
async def test_a_slow_first_token_delays_no_headers() -> None:
    """Headers go out after ten seconds, then keep-alives; the answer and its end still come."""
    async with talk(chat_request(stream=True)) as talking:
        await asyncio.sleep(HEADERS_WITHIN_S - 0.1)
        assert not talking.sent.has_begun
        await asyncio.sleep(0.2)
        assert talking.sent.status == 200
        assert talking.sent.parts == []
        await asyncio.sleep(2 * KEEP_ALIVE_S)
        assert talking.sent.parts == [KEEP_ALIVE, KEEP_ALIVE]
        deliver(talking.desk.replies, chunk(0), chunk(1, ChunkKind.END))
        await talking.end()
        assert talking.sent.body.endswith(DONE)


@on_fake_time
async def test_an_error_after_the_headers_comes_inside_the_stream() -> None:
    """The status is out already."""
    async with talk(chat_request(stream=True)) as talking:
        await asyncio.sleep(HEADERS_WITHIN_S + 0.1)
        deliver(talking.desk.replies, error_chunk_of(LIMITED))
        await talking.end()
        assert talking.sent.status == 200
        assert b"provider_rate_limited" in talking.sent.body
        assert DONE not in talking.sent.body


@on_fake_time
async def test_keep_alives_fill_silence_only() -> None:
    """A stream that speaks needs none."""
    async with talk(chat_request(stream=True)) as talking:
        for seq in range(4):
            deliver(talking.desk.replies, chunk(seq))
            await asyncio.sleep(KEEP_ALIVE_S * 0.9)
        assert KEEP_ALIVE not in talking.sent.parts
        await asyncio.sleep(KEEP_ALIVE_S * 0.2)
        assert talking.sent.parts.count(KEEP_ALIVE) == 1
        deliver(talking.desk.replies, chunk(4, ChunkKind.END))


@pytest.mark.parametrize("chunks", [0, 1])
@on_fake_time
async def test_a_stream_past_its_deadline_ends_with_an_error(chunks: int) -> None:
    """The stages have a little time to say it themselves; then the gateway does."""
    request = chat_request({"x-millrace-deadline-ms": "30000"}, stream=True)
    async with talk(request) as talking:
        deliver(talking.desk.replies, *(chunk(seq) for seq in range(chunks)))
        await talking.end()
        assert clock_of_loop().monotonic_s() == pytest.approx(30 + GRACE_MS / 1000, abs=0.01)
        assert b"deadline_exceeded" in talking.sent.body
        assert DONE not in talking.sent.body
        assert talking.counted(200, "deadline_exceeded") == 1


@on_fake_time
async def test_a_whole_answer_past_its_deadline_is_a_timeout() -> None:
    """504, which OpenAI's clients are told not to repeat."""
    async with talk(chat_request({"x-millrace-deadline-ms": "1500"})) as talking:
        await talking.end()
        assert (talking.sent.status, talking.sent.error["code"]) == (504, "deadline_exceeded")
        assert talking.sent.headers["x-should-retry"] == "false"
        assert clock_of_loop().monotonic_s() == pytest.approx(1.5 + GRACE_MS / 1000, abs=0.01)


@on_fake_time
async def test_the_stages_own_word_on_a_deadline_is_waited_for() -> None:
    """A terminal that comes just after the deadline is what the client is told."""
    late = PublicError(code="deadline_exceeded", message="The stage says so.")
    async with talk(chat_request({"x-millrace-deadline-ms": "1500"})) as talking:
        await asyncio.sleep(1.5 + GRACE_MS / 2000)
        deliver(talking.desk.replies, error_chunk_of(late))
        await talking.end()
        assert talking.sent.error["message"] == "The stage says so."


@on_fake_time
async def test_an_orphaned_stream_ends_with_an_error() -> None:
    """Its process died and the request is served anew: another answer is never glued to it."""
    async with talk(chat_request(stream=True)) as talking:
        deliver(
            talking.desk.replies,
            chunk(0, run="dead"),
            chunk(0, run="new", payload=b'{"other":1}'),
            chunk(1, ChunkKind.END, run="new"),
        )
        await talking.end()
        assert b"stream_interrupted" in talking.sent.body
        assert b"other" not in talking.sent.body
        assert DONE not in talking.sent.body
        assert clock_of_loop().monotonic_s() == pytest.approx(RIVAL_GRACE_S, abs=0.01)


@on_fake_time
async def test_shutdown_ends_an_open_stream_with_an_error() -> None:
    """The client learns that it may ask again."""
    leaving = PublicError(code="server_shutting_down", message="Bye.", retry_after_ms=1000)
    async with talk(chat_request(stream=True)) as talking:
        deliver(talking.desk.replies, chunk(0))
        await settled()
        talking.desk.replies.end_all(leaving)
        await talking.end()
        assert b"server_shutting_down" in talking.sent.parts[-1]
        assert DONE not in talking.sent.body


@pytest.mark.parametrize("stream", [False, True])
@on_fake_time
async def test_a_client_that_leaves_is_not_waited_for(*, stream: bool) -> None:
    """The handler ends at once, not when the answer or the deadline comes; it is counted so."""
    exchange = FakeExchange()
    async with talk(chat_request(stream=stream, exchange=exchange)) as talking:
        exchange.leave()
        await settled()
        assert talking.is_over
        assert not talking.sent.has_begun
        assert talking.counted(499, "client_gone") == 1
        assert len(talking.publisher.published) == 1, "the pipeline goes on"


@on_fake_time
async def test_a_client_that_left_already_is_not_asked_for() -> None:
    """Nobody pays for an answer that nobody can get."""
    exchange = FakeExchange()
    exchange.leave()
    async with talk(chat_request(exchange=exchange)) as talking:
        await talking.end()
        assert talking.publisher.published == []


@on_fake_time
async def test_a_client_that_leaves_while_it_is_written_to_ends_the_stream() -> None:
    """The front door says so by an exception, which is no fault of ours."""

    async def send(_message: object) -> None:
        raise ClientGone

    async with talk(chat_request(stream=True), send=send) as talking:
        deliver(talking.desk.replies, chunk(0))
        await talking.end()
        assert talking.counted(499, "client_gone") == 1


@on_fake_time
async def test_what_waits_is_counted_and_forgotten() -> None:
    """The gauge of requests in flight follows the waits; times are observed once each."""
    async with talk(chat_request(stream=True)) as talking:
        assert talking.desk.replies.count == 1
        deliver(talking.desk.replies, chunk(0), chunk(1), chunk(2, ChunkKind.END))
        await talking.end()
        metrics = talking.desk.metrics
        for histogram in (metrics.first_token, metrics.duration):
            (count,) = (
                sample.value
                for family in histogram.collect()
                for sample in family.samples
                if sample.name.endswith("_count")
            )
            assert count == 1


@on_fake_time
async def test_an_error_document_of_any_shape_is_counted() -> None:
    """What a stage sends as an error is passed on, even where no code can be read in it."""
    async with talk(chat_request()) as talking:
        broken = chunk(0, ChunkKind.ERROR, payload=b"[]", status=500)
        deliver(talking.desk.replies, broken)
        await talking.end()
        assert (talking.sent.status, talking.sent.body) == (500, b"[]")
        assert talking.counted(500, "unknown") == 1


@on_fake_time
async def test_another_operation_has_another_form() -> None:
    """A chat body is no embeddings body."""
    publisher, sent = FakePublisher(), Sent()
    handler = inference(Operation.EMBEDDINGS, desk_of(clock_of_loop(), publisher))
    request = chat_request()
    await handler(request, sent)
    assert (sent.status, sent.error["param"]) == (400, "input")
    assert "input" not in CHAT
    assert http_request().exchange is None


@on_fake_time
async def test_a_client_that_may_resume_gets_ids() -> None:
    """Beside them a keep-alive is glued to the next event; [DONE] has an id, too."""
    async with talk(chat_request({"x-millrace-resumable": "true"}, stream=True)) as talking:
        deliver(talking.desk.replies, chunk(0, payload=b"1\n2"))
        await asyncio.sleep(KEEP_ALIVE_S * 1.1)
        deliver(talking.desk.replies, chunk(1, ChunkKind.END, payload=b"3"))
        await talking.end()
        place = f"{REPLY_PARTITION}:0"
        assert talking.sent.parts == [
            f"id: 0:{place}:0\ndata: 1\n\nid: 0:{place}\ndata: 2\n\n".encode(),
            KEEP_ALIVE_BESIDE_IDS,
            f"id: 1:{place}:0\ndata: 3\n\nid: 1:{place}\ndata: [DONE]\n\n".encode(),
        ]


@pytest.mark.parametrize(
    ("key", "count", "is_retry"),
    [
        (KEY, "1", True),
        (KEY, "12", True),
        (KEY, "0", False),
        (KEY, "", False),
        (KEY, "-1", False),
        (KEY, "x", False),
        (KEY, "9" * 5_000, False),
        (HASTY_KEY, "1", False),
    ],
)
@on_fake_time
async def test_a_repetition_is_marked_where_its_key_allows_it(
    *, key: str, count: str, is_retry: bool
) -> None:
    """OpenAI's clients number theirs; whatever else the header says is no repetition."""
    headers = {"x-stainless-retry-count": count}
    async with talk(chat_request(headers, key=key)) as talking:
        deliver(talking.desk.replies, chunk(0, ChunkKind.END, payload=ANSWER))
        await talking.end()
        assert talking.publisher.retries == [is_retry]


@pytest.mark.parametrize("is_away", [False, True])
@on_fake_time
async def test_what_nobody_waits_for_is_cancelled_where_its_key_says_so(*, is_away: bool) -> None:
    """Where that cannot be said, the request goes on; its client is gone in any case."""
    exchange = FakeExchange()
    async with talk(chat_request(key=HASTY_KEY, exchange=exchange)) as talking:
        talking.controls.is_away = is_away
        exchange.leave()
        await talking.end()
        asked = [(it.request_id, it.tenant, it.reason) for it in talking.controls.published]
        assert asked == ([] if is_away else [(REQUEST_ID, "acme", "client_gone")])


@on_fake_time
async def test_the_place_after_a_request_is_recorded_is_passed_once_it_is() -> None:
    """Whoever dies there has promised nothing to its client, and lost nothing."""
    passed: list[tuple[str, int]] = []
    publisher = FakePublisher()
    desk = desk_of(
        clock_of_loop(),
        publisher,
        pass_by=lambda place: passed.append((place, len(publisher.published))),
    )
    handle = inference(Operation.CHAT, desk)
    publisher.is_away = True
    await handle(chat_request(), Sent())
    publisher.is_away = False
    asked = asyncio.ensure_future(handle(chat_request(), Sent()))
    await settled()
    assert passed == [("after_publish", 1)]
    asked.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await asked
