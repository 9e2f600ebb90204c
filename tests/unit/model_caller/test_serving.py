"""From a batch to the ends of its requests, over scripted providers and on fake time."""

import asyncio
import json
from email.utils import formatdate
from typing import Any

import pytest

from services.model_caller.decide import RetryBudget
from services.model_caller.sse import MAX_EVENT_BYTES
from services.shared.domain.configuration import Retries, Timeouts
from services.shared.domain.errors import MustStop, PoisonRecord
from services.shared.domain.events import RequestRouted
from services.shared.domain.money import Usage
from services.shared.domain.tracing import span_id_for
from services.shared.ports.model_provider import UpstreamFailed
from tests.support.example_events import TRACEPARENT, batch, request_id
from tests.support.fake_clock import START_MS, clock_of_loop
from tests.support.open_record import RecordInWork
from tests.support.scripted_provider import (
    DONE,
    ENDING,
    FOREVER,
    USAGE_EVENT,
    Asked,
    Frame,
    Script,
    ScriptedProvider,
    answered,
    piece,
    refused,
    sse,
    streamed,
    whole,
)
from tests.unit.model_caller.callers import TARGETS, Caller, Served, member, streaming

UNREACHABLE = Script(before=[UpstreamFailed("provider_unreachable", "no route")])
BROKEN = refused(500)
ENDLESS = b"x" * (MAX_EVENT_BYTES + 9)
SLOW_WORDS: list[Frame] = [piece("a"), 4.0]


async def served(*scripts: Script, by: RequestRouted | None = None, **options: Any) -> Served:
    """What becomes of one request when a provider plays these."""
    caller = Caller({"first": ScriptedProvider(scripts)}, **options)
    return await caller.serve(batch(by or member()))


# -- answers ---------------------------------------------------------------------------------------


async def test_an_answer_ends_its_request() -> None:
    """The client gets the document in one chunk; the terminal record has it with all it cost."""
    provider = ScriptedProvider([whole(frames=[0.25])])
    result = await Caller({"first": provider}).serve(batch(member()))
    (chunk,) = result.chunks
    finished = result.one
    assert (chunk.kind, chunk.seq, chunk.attempt, chunk.run) == ("end", 0, 1, "run-1")
    assert chunk.payload == finished.response
    assert chunk.headers["x-cache"] == "miss"
    assert chunk.headers["x-millrace-route-target"] == "first/one"
    assert chunk.headers["x-millrace-attempts"] == "1"
    document = json.loads(finished.response)
    assert document["choices"][0]["message"]["content"] == "Deep."
    assert document["id"] == f"chatcmpl-{request_id()}"
    assert (finished.outcome, finished.finish_reason) == ("completed", "stop")
    assert finished.usage == Usage(input_tokens=9, output_tokens=2)
    (call,) = finished.calls
    assert (call.attempt, call.provider, call.model) == (1, "first", "one")
    assert (call.upstream_status, call.upstream_request_id) == (200, "up-req")
    assert (call.started_ms, call.first_chunk_ms, call.finished_ms) == (0, 250, 250)
    assert call.cost_nanousd == finished.cost_nanousd == 9 * 1_000 + 2 * 2_000
    assert (finished.batch_id, finished.batch_size) == ("batch_1", 1)


async def test_the_provider_is_asked_in_its_own_words() -> None:
    """Its own name of the model, our span as the parent, an id of the attempt."""
    provider = ScriptedProvider([whole()])
    await Caller({"first": provider}).serve(batch(member(tracestate="vendor=1")))
    (asked,) = provider.asked
    assert asked.path == "/chat/completions"
    assert asked.body["model"] == "one"
    trace_id = TRACEPARENT.split("-")[1]
    span_id = span_id_for(request_id(), "model-caller", 1)
    assert asked.headers["traceparent"] == f"00-{trace_id}-{span_id}-01"
    assert asked.headers["tracestate"] == "vendor=1"
    assert asked.headers["x-millrace-attempt-id"] == f"{request_id()}-1"


async def test_a_stream_is_handed_on_as_it_comes() -> None:
    """First word at once, the rest gathered, the end with the last words; then the record."""
    result = await served(
        streamed(0.2, piece("De"), 0.1, piece("ep"), 0.1, piece("."), *ENDING), by=streaming()
    )
    assert [chunk.kind for chunk in result.chunks] == ["delta", "delta", "end"]
    assert [chunk.seq for chunk in result.chunks] == [0, 1, 2]
    fragments = [json.loads(line) for chunk in result.chunks for line in chunk.payload.split(b"\n")]
    words = [fragment["choices"][0]["delta"].get("content", "") for fragment in fragments]
    assert "".join(words) == "Deep."
    finished = result.one
    assert json.loads(finished.response)["choices"][0]["message"]["content"] == "Deep."
    assert finished.usage == Usage(input_tokens=9, output_tokens=2)
    assert finished.calls[0].first_chunk_ms == 200


async def test_a_stream_for_nobody_is_still_an_answer() -> None:
    """A Kafka producer's streamed request ends in its record, with no chunk."""
    result = await served(streamed(piece("Deep."), *ENDING), by=streaming(reply_partition=-1))
    assert result.chunks == []
    assert result.one.outcome == "completed"


async def test_usage_ends_a_stream_where_the_caller_wants_it() -> None:
    """The last fragment of the last chunk has it."""
    result = await served(streamed(piece("Deep."), *ENDING), by=streaming(include_usage=True))
    last = json.loads(result.chunks[-1].payload.split(b"\n")[-1])
    assert (last["choices"], last["usage"]["prompt_tokens"]) == ([], 9)


@pytest.mark.parametrize(
    "frames",
    [
        pytest.param([piece("Deep."), piece(finish_reason="stop")], id="no_done"),
        pytest.param([piece("Deep.", finish_reason="stop")[:-2]], id="no_last_line_end"),
        pytest.param(
            [b"".join([piece("Deep."), *map(bytes, (piece(finish_reason="stop"), DONE))])],
            id="all_at_once",
        ),
        pytest.param(
            [bytes([byte]) for byte in piece("Deep.") + piece(finish_reason="stop") + DONE],
            id="byte_by_byte",
        ),
        pytest.param([piece("Deep."), *ENDING, piece(" and more")], id="words_after_the_end"),
    ],
)
async def test_a_whole_stream_is_an_answer_however_it_comes(frames: list[bytes]) -> None:
    """What counts is that each choice said why it ended."""
    result = await served(streamed(*frames), by=streaming())
    assert json.loads(result.one.response)["choices"][0]["message"]["content"] == "Deep."
    assert b"more" not in b"".join(chunk.payload for chunk in result.chunks)


# -- repetition ------------------------------------------------------------------------------------


async def test_a_failure_is_repeated_after_a_pause() -> None:
    """The second answer is the request's; both calls stand in its record."""
    provider = ScriptedProvider([BROKEN, whole()])
    result = await Caller({"first": provider}).serve(batch(member()))
    assert [asked.at_s for asked in provider.asked] == [0.0, pytest.approx(0.1)]
    assert [call.error_code for call in result.one.calls] == ["provider_error", ""]
    assert [call.attempt for call in result.one.calls] == [1, 2]
    assert result.chunks[0].headers["x-millrace-attempts"] == "2"
    ids = [asked.headers["x-millrace-attempt-id"] for asked in provider.asked]
    assert ids == [f"{request_id()}-1", f"{request_id()}-2"]
    assert len({asked.headers["traceparent"] for asked in provider.asked}) == 2


@pytest.mark.parametrize(
    ("headers", "pause_s"),
    [
        pytest.param({"retry_after": "1"}, 1.0, id="seconds"),
        pytest.param({"retry_after_ms": "700"}, 0.7, id="ms"),
        pytest.param({"retry_after": formatdate(START_MS / 1000 + 2, usegmt=True)}, 2.0, id="date"),
    ],
)
async def test_the_pause_that_a_provider_asks_for_is_kept(
    headers: dict[str, str], pause_s: float
) -> None:
    """Seconds, milliseconds or a date."""
    provider = ScriptedProvider([refused(429, **headers), whole()])
    result = await Caller({"first": provider}).serve(batch(member()))
    assert provider.asked[1].at_s == pytest.approx(pause_s)
    assert result.one.outcome == "completed"


async def test_callers_are_told_of_a_pause_that_is_too_long_to_wait() -> None:
    """The refusal says when to come back."""
    result = await served(refused(429, retry_after="30"))
    assert result.code == "provider_rate_limited"
    (chunk,) = result.chunks
    assert (chunk.kind, chunk.status) == ("error", 429)
    assert (chunk.headers["retry-after"], chunk.headers["x-should-retry"]) == ("30", "true")


@pytest.mark.parametrize(
    "failing",
    [
        pytest.param(UNREACHABLE, id="unreachable"),
        pytest.param(refused(401), id="bad_key"),
        pytest.param(refused(404), id="unknown_model"),
        pytest.param(refused(429, retry_after="60"), id="rate_limited_for_long"),
        pytest.param(refused(429, code="insufficient_quota"), id="no_quota"),
        pytest.param(refused(400, code="context_length_exceeded"), id="too_small"),
        pytest.param(Script(status=302, headers={"location": "http://inside"}), id="redirect"),
        pytest.param(Script(frames=[b"<html>"]), id="no_json"),
        pytest.param(Script(before=[FOREVER]), id="silent"),
        pytest.param(Script(frames=[b"{", FOREVER]), id="silent_in_the_middle"),
        pytest.param(refused(503), id="overloaded"),
    ],
)
async def test_the_next_target_answers_where_the_first_cannot(failing: Script) -> None:
    """A caller sees an answer, and in its headers who gave it."""
    providers = {"first": ScriptedProvider([failing]), "second": ScriptedProvider([whole()])}
    result = await Caller(providers).serve(batch(member(targets=TARGETS)))
    assert result.one.outcome == "completed"
    assert result.one.calls[-1].provider == "second"
    assert result.chunks[0].headers["x-millrace-route-target"] == "second/two"
    assert providers["second"].asked[0].body["model"] == "two"


async def test_a_target_whose_provider_is_unknown_is_passed_over() -> None:
    """A configuration that another instance does not have yet costs no request."""
    second = ScriptedProvider([whole()])
    result = await Caller({"second": second}).serve(batch(member(targets=TARGETS)))
    assert [call.error_code for call in result.one.calls] == ["provider_error", ""]
    assert [call.upstream_status for call in result.one.calls] == [0, 200]


@pytest.mark.parametrize(
    ("refusal", "code", "status"),
    [
        pytest.param(
            refused(400, code="content_filter", message="Filtered."),
            "content_filter",
            400,
            id="filtered",
        ),
        pytest.param(refused(400, message="Bad field."), "provider_rejected", 400, id="rejected"),
    ],
)
async def test_what_the_request_is_at_fault_for_is_not_repeated(
    refusal: Script, code: str, status: int
) -> None:
    """Nobody else is asked; the caller reads the provider's words."""
    providers = {"first": ScriptedProvider([refusal]), "second": ScriptedProvider([whole()])}
    result = await Caller(providers).serve(batch(member(targets=TARGETS)))
    assert providers["second"].asked == []
    error = json.loads(result.chunks[0].payload)["error"]
    assert (error["code"], result.chunks[0].status) == (code, status)
    assert error["message"] in {"Filtered.", "Bad field."}


async def test_calls_end_with_the_attempts() -> None:
    """Three calls, then the last error; the record has all of them."""
    provider = ScriptedProvider([BROKEN])
    result = await Caller({"first": provider}).serve(batch(member()))
    assert len(provider.asked) == len(result.one.calls) == 3
    assert result.code == "provider_error"


async def test_extra_calls_end_with_the_budget() -> None:
    """Under an outage the process makes few more calls than it has requests."""
    provider = ScriptedProvider([BROKEN])
    caller = Caller({"first": provider})
    for number in range(40):
        await caller.serve(batch(member(number)))
    allowed = RetryBudget.ALLOWANCE + RetryBudget.EARNED_PER_S * clock_of_loop().monotonic_s() + 4
    assert len(provider.asked) <= 40 + allowed


async def test_the_next_target_is_asked_though_no_budget_is_left() -> None:
    """Users are served while the first provider fails; it is not asked twice for one request."""
    providers = {"first": ScriptedProvider([BROKEN]), "second": ScriptedProvider([whole()])}
    caller = Caller(providers)
    now_s = clock_of_loop().monotonic_s()
    caller.budget.first_call(now_s=now_s)
    while caller.budget.left(now_s=now_s) >= 1:
        caller.budget.repeat(now_s=now_s)
    result = await caller.serve(batch(member(targets=TARGETS)))
    assert result.one.outcome == "completed"
    assert [len(provider.asked) for provider in providers.values()] == [1, 1]


async def test_the_deadline_is_not_slept_over() -> None:
    """A pause that would outlast the deadline ends the request with what went wrong."""
    soon = int(START_MS) + 500
    result = await served(refused(429, retry_after="1"), by=member(deadline_at=soon))
    assert result.code == "provider_rate_limited"
    assert result.one.finished_at < soon


# -- time ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "after_s", "code"),
    [
        pytest.param(streamed(FOREVER), 10, "provider_timeout", id="first_token"),
        pytest.param(
            streamed(b": ping\n\n", 9.5, b": ping\n\n", FOREVER),
            10,
            "provider_timeout",
            id="comments_are_no_token",
        ),
        pytest.param(Script(before=[FOREVER]), 10, "provider_timeout", id="no_headers"),
        pytest.param(
            streamed(piece("a"), 4.9, piece("b"), FOREVER),
            9.9,
            "stream_interrupted",
            id="between_tokens",
        ),
        pytest.param(streamed(*SLOW_WORDS * 20), 20, "stream_interrupted", id="in_total"),
    ],
)
async def test_streams_are_bounded_in_time(script: Script, after_s: float, code: str) -> None:
    """Until the first token, between tokens, and in total."""
    result = await served(script, by=streaming(), retries=Retries(max_attempts=1))
    assert result.code == code
    assert result.one.finished_at - START_MS == pytest.approx(after_s * 1000, abs=2)


async def test_whole_answers_are_bounded_in_time() -> None:
    """An answer in one piece has the total."""
    script = Script(frames=[b"{", FOREVER])
    result = await served(script, retries=Retries(max_attempts=1), by=member(deadline_at=0))
    assert result.code == "provider_timeout"
    assert result.one.finished_at == START_MS + 20_000
    assert result.one.error is not None
    assert "20 s" in result.one.error.message


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(streamed(FOREVER), id="before_output"),
        pytest.param(streamed(piece("a"), FOREVER), id="after_output"),
        pytest.param(refused(500), id="while_repeating"),
    ],
)
async def test_the_deadline_ends_a_call(script: Script) -> None:
    """At the deadline, not later, the request has expired and the client knows."""
    timeouts = Timeouts(first_token_s=600, inter_token_s=600, total_s=600)
    deadline_at = int(START_MS) + 300
    result = await served(script, by=streaming(deadline_at=deadline_at), timeouts=timeouts)
    assert result.one.finished_at <= deadline_at
    assert result.chunks[-1].kind == "error"
    if result.code != "provider_error":
        assert (result.code, result.one.outcome) == ("deadline_exceeded", "expired")
        assert result.chunks[-1].status == 504


async def test_a_request_past_its_deadline_is_not_called() -> None:
    """It expired in the topic; the others of its batch are served."""
    provider = ScriptedProvider([whole()])
    late = member(1, deadline_at=int(START_MS))
    result = await Caller({"first": provider}).serve(batch(late, member(2)))
    assert len(provider.asked) == 1
    assert result.of(request_id(1)).outcome == "expired"
    assert result.of(request_id(2)).outcome == "completed"
    assert result.of(request_id(1)).batch_size == 2


async def test_waiting_for_a_slot_counts_against_the_deadline() -> None:
    """A provider that is full does not hold requests for ever."""
    caller = Caller({"first": ScriptedProvider([whole(frames=[5.0])])}, slots=1)
    results = await asyncio.gather(
        caller.serve(batch(member(1))),
        caller.serve(batch(member(2, deadline_at=int(START_MS) + 500))),
    )
    assert [result.one.outcome for result in results] == ["completed", "expired"]


async def test_a_provider_gets_no_more_calls_at_once_than_it_may() -> None:
    """The others wait their turn."""
    provider = ScriptedProvider([whole(frames=[0.25])])
    caller = Caller({"first": provider}, slots=3)
    result = await caller.serve(batch(*(member(number) for number in range(10))))
    assert provider.most_in_flight == 3
    assert {finished.outcome for finished in result.finished} == {"completed"}


# -- broken answers --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        pytest.param([], "provider_malformed", id="nothing"),
        pytest.param([DONE], "provider_malformed", id="done_alone"),
        pytest.param([USAGE_EVENT, DONE], "provider_malformed", id="usage_alone"),
        pytest.param([b"data: {\n\n"], "provider_malformed", id="bad_json"),
        pytest.param([b"data: " + b"[" * 100_000 + b"\n\n"], "provider_malformed", id="deep"),
        pytest.param([b"data: " + ENDLESS], "provider_malformed", id="endless"),
        pytest.param(
            [UpstreamFailed("provider_unreachable", "reset")], "provider_unreachable", id="reset"
        ),
        pytest.param([sse({"error": {"message": "Oops."}})], "provider_error", id="error_event"),
        pytest.param(
            [sse({"error": {"code": "content_filter", "message": "No."}})],
            "content_filter",
            id="filtered",
        ),
    ],
)
async def test_a_stream_that_breaks_before_output_may_be_repeated(
    frames: list[Any], code: str
) -> None:
    """The error is a typed one; no chunk was sent but the one that says so."""
    result = await served(streamed(*frames), by=streaming(), retries=Retries(max_attempts=1))
    assert result.code == code
    assert [chunk.kind for chunk in result.chunks] == ["error"]
    repeated = await served(streamed(*frames), streamed(piece("a"), *ENDING), by=streaming(2))
    assert (repeated.one.outcome == "completed") == (code != "content_filter")


@pytest.mark.parametrize(
    "frames",
    [
        pytest.param([], id="end"),
        pytest.param([DONE], id="done"),
        pytest.param([UpstreamFailed("provider_unreachable", "reset")], id="reset"),
        pytest.param([b"data: {\n\n"], id="bad_json"),
        pytest.param([sse({"error": {"message": "Oops."}})], id="error_event"),
        pytest.param([FOREVER], id="silence"),
    ],
)
async def test_a_stream_that_breaks_after_output_is_interrupted(frames: list[Any]) -> None:
    """It is never repeated and never ends as if it were whole; what came was billed."""
    providers = {
        "first": ScriptedProvider([streamed(piece("Deep"), *frames)]),
        "second": ScriptedProvider([whole()]),
    }
    result = await Caller(providers).serve(batch(streaming(targets=TARGETS)))
    assert [chunk.kind for chunk in result.chunks] == ["delta", "error"]
    assert [chunk.seq for chunk in result.chunks] == [0, 1]
    assert result.code == "stream_interrupted"
    assert providers["second"].asked == []
    (call,) = result.one.calls
    assert call.usage == Usage(input_tokens=9, output_tokens=1, is_estimated=True)
    assert result.one.cost_nanousd == 9 * 1_000 + 2_000
    assert result.one.response == b""


async def test_a_role_without_a_word_may_be_repeated() -> None:
    """The opening chunk is held until something is said, so no client sees two openings."""
    opening = sse(
        {"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}], "model": "m"}
    )
    result = await served(
        streamed(opening, UpstreamFailed("provider_unreachable", "reset")),
        streamed(opening, piece("a"), *ENDING),
        by=streaming(),
    )
    assert result.one.outcome == "completed"
    assert b"".join(chunk.payload for chunk in result.chunks).count(b'"role"') == 1
    assert {chunk.attempt for chunk in result.chunks} == {2}


async def test_a_stream_that_was_not_asked_for_is_malformed() -> None:
    """And so is the whole answer where a stream was."""
    result = await served(whole(), by=streaming(), retries=Retries(max_attempts=1))
    assert result.code == "provider_malformed"
    result = await served(
        streamed(piece("a"), *ENDING), by=member(2), retries=Retries(max_attempts=1)
    )
    assert result.code == "provider_malformed"


async def test_an_answer_that_is_too_large_is_not_asked_for_again() -> None:
    """It would be as large the next time, and as dear."""
    provider = ScriptedProvider([whole("x" * 6_000_000)])
    result = await Caller({"first": provider}).serve(batch(member()))
    assert result.code == "provider_malformed"
    assert len(provider.asked) == 1


async def test_an_error_in_a_good_status_names_no_status() -> None:
    """The caller is not told of a 502 that nobody sent."""
    result = await served(whole(error={"message": "Oops."}), retries=Retries(max_attempts=1))
    assert result.one.error is not None
    assert (result.code, result.one.calls[0].upstream_status) == ("provider_error", 200)
    assert "502" not in result.one.error.message


async def test_an_error_status_whose_body_breaks_off_still_counts() -> None:
    """The status alone decides then."""
    script = Script(status=400, frames=[b"{", UpstreamFailed("provider_unreachable", "reset")])
    assert (await served(script)).code == "provider_rejected"


# -- batches ---------------------------------------------------------------------------------------


async def test_members_of_a_batch_are_called_at_once() -> None:
    """A slow one holds up nobody; the batch ends with its last member."""

    def play(asked: Asked) -> Script:
        is_slow = asked.headers["x-millrace-attempt-id"].startswith(request_id(3))
        return whole(frames=[10.0 if is_slow else 0.5])

    provider = ScriptedProvider(play)
    result = await Caller({"first": provider}).serve(batch(*(member(i) for i in range(6))))
    assert provider.most_in_flight == 6
    ends = {it.request_id: it.finished_at - START_MS for it in result.finished}
    assert ends.pop(request_id(3)) == 10_000
    assert set(ends.values()) == {500}
    assert clock_of_loop().monotonic_s() == 10


async def test_one_bad_member_does_not_spoil_the_others() -> None:
    """Each has its own end."""

    def play(asked: Asked) -> Script:
        bad = asked.headers["x-millrace-attempt-id"].startswith(request_id(3))
        return refused(400) if bad else answered(asked)

    result = await Caller({"first": ScriptedProvider(play)}).serve(
        batch(*(member(i) for i in range(6)))
    )
    outcomes = {it.request_id: it.outcome for it in result.finished}
    assert outcomes.pop(request_id(3)) == "failed"
    assert set(outcomes.values()) == {"completed"}


async def test_a_fault_of_ours_gives_the_batch_up_after_the_others_ended() -> None:
    """The record becomes a dead letter; calls that were paid for end in their answers."""

    def play(asked: Asked) -> Script:
        if asked.headers["x-millrace-attempt-id"].startswith(request_id(3)):
            raise ZeroDivisionError
        return whole(frames=[1.0])

    result = await Caller({"first": ScriptedProvider(play)}).serve(
        batch(*(member(i) for i in range(4)))
    )
    assert result.work.buried is not None
    assert result.work.buried.reason == "processor_error"
    assert {it.request_id for it in result.finished} == {request_id(i) for i in (0, 1, 2)}


async def test_a_batch_that_cannot_be_read_is_given_up() -> None:
    """Its record is closed as a dead letter; nothing hangs."""
    broken = member(operation="embeddings", body=b"{")
    caller = Caller({"first": ScriptedProvider([whole()])})
    result = await caller.serve(batch(broken, member(2), merge=True))
    assert result.work.buried is not None


async def test_a_log_that_takes_nothing_gives_the_record_up() -> None:
    """What ``emit`` raises does not vanish in a task."""
    caller = Caller({"first": ScriptedProvider([whole()])})
    work = RecordInWork(batch(member()))
    work.failing = PoisonRecord("oversize", "too large")
    await caller.processor.process([work])
    await work.ended.wait()
    assert work.buried is not None


async def test_a_process_that_must_stop_leaves_its_batches(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """They are no poison: whoever owns them next serves them."""
    caller = Caller({"first": ScriptedProvider([whole()])})
    work = RecordInWork(batch(member()))
    work.failing = MustStop("fenced")
    await caller.processor.process([work])
    await asyncio.sleep(60)
    assert not work.ended.is_set()
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_calls_are_counted() -> None:
    """By provider, model and code, with how many are in flight."""
    caller = Caller({"first": ScriptedProvider([BROKEN, streamed(piece("a"), 0.5, *ENDING)])})
    work = caller.serve(batch(streaming()))
    task = asyncio.ensure_future(work)
    await asyncio.sleep(0.3)
    assert caller.registry.get_sample_value("millrace_model_calls_in_flight") == 1
    await task
    assert caller.registry.get_sample_value("millrace_model_calls_in_flight") == 0
    for code in ("", "provider_error"):
        labels = {"provider": "first", "model": "one", "code": code}
        assert caller.registry.get_sample_value("millrace_model_calls_total", labels) == 1
    labels = {"provider": "first", "model": "one"}
    name = "gen_ai_client_operation_time_to_first_chunk_seconds_count"
    assert caller.registry.get_sample_value(name, labels) == 1
