"""No request is paid for twice unknowingly, wherever the model caller dies."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from services.model_caller.attempt_index import SILENCE_S
from services.model_caller.redelivery import stream_of
from services.shared.codec.records import decode_record, encode_record
from services.shared.domain.configuration import Configuration, Model, OnUnknown
from services.shared.domain.events import (
    ControlRequested,
    InferenceFinished,
    InferenceRequested,
    ModelCallAttempt,
    ResultChunk,
    UsageRecorded,
)
from services.shared.domain.ledger import fold
from services.shared.domain.topics import Topic
from tests.pipeline.journeys.test_redelivery import deliver_again
from tests.pipeline.journeys.travel import Travel, message_of, text_of
from tests.support.example_events import finished, request_id
from tests.support.pipeline import Pipeline, StageProcess, running_pipeline
from tests.support.scripted_provider import (
    ENDING,
    Asked,
    Script,
    ScriptedProvider,
    embedded,
    piece,
    streamed,
    whole,
)
from tests.support.stages import configuration, publish

CALLER = "model-caller"
SLOW_S = 3.0


def slowly(asked: Asked) -> Script:
    """A stream of two words, or a whole answer, that takes three seconds."""
    if asked.path == "/embeddings":
        return embedded(asked)
    if asked.body.get("stream"):
        return streamed(0.5, piece("De"), SLOW_S - 0.5, piece("ep."), *ENDING)
    return whole(frames=[SLOW_S])


def by_policy(policy: OnUnknown) -> Configuration:
    """The usual configuration, with one policy for all aliases."""
    plain = configuration()
    models: dict[str, Model] = {
        name: msgspec.structs.replace(model, on_unknown=policy)
        for name, model in plain.models.items()
    }
    return msgspec.structs.replace(plain, models=models)


class Trip(Travel):
    """A pipeline whose model caller can die at a place."""

    async def run(self, *, slots: Path | None) -> None:
        """Start everything."""
        await self.start(slots=slots)

    @property
    def callers(self) -> list[StageProcess]:
        """The processes of the model caller."""
        return [it for it in self.pipeline.processes if it.stage.service == CALLER]

    def die_at(self, place: str, *, passage: int = 1) -> None:
        """The model caller that runs now dies when it passes a place for the n-th time."""
        left = passage
        process = self.callers[-1]

        def pass_by(passed: str) -> None:
            nonlocal left
            if passed != place:
                return
            left -= 1
            if left == 0:
                process.is_killed = True
                process._log.kill()
                raise asyncio.CancelledError  # its task ends here and now

        self.stages.pass_by = pass_by

    async def restart(self, *, slots: Path | None, ordinal: int = 0) -> StageProcess:
        """Clean up a model caller that died, and start one."""
        for process in self.callers:
            if process.is_killed:
                await process.kill()
        self.stages.pass_by = lambda _place: None
        return await self.pipeline.start(self.stages.model_caller, slots=slots, ordinal=ordinal)

    def ledger(self) -> dict[str, UsageRecorded]:
        """The ledger, folded."""
        return fold(self.all_of(Topic.USAGE_LEDGER, UsageRecorded))

    def attempts(self) -> list[ModelCallAttempt]:
        """The attempt log."""
        return self.all_of(Topic.MODEL_CALL_ATTEMPTS, ModelCallAttempt)

    def all_of(self, topic: str, event_type: Any) -> list[Any]:
        """All records of a topic."""
        return [
            decode_record(raw.value or b"", event_type)
            for raw in self.pipeline.cluster.records(topic)
        ]

    def seen(self, request: InferenceRequested) -> Sequence[ResultChunk]:
        """What a reader takes of a request's chunks."""
        return stream_of(self.chunks_of(request.request_id))

    def truth(self, request: InferenceRequested) -> InferenceFinished:
        """How a request ended."""
        return self.end_of(request.request_id)


Kinds = dict[str, str]


def kinds(trip: Trip) -> Kinds:
    """The rows of the ledger that count: kind by row id."""
    return {row_id: row.kind for row_id, row in trip.ledger().items()}


def row_id(attempt: int, number: int = 1) -> str:
    """Id of the row of an attempt."""
    return f"{request_id(number)}-{attempt}"


BOTH = pytest.mark.parametrize("is_streamed", [False, True], ids=["whole", "streamed"])


def body_of(trip: Trip, *, is_streamed: bool, **changes: Any) -> InferenceRequested:
    """A request."""
    return trip.streaming(**changes) if is_streamed else trip.request(**changes)


def check_answered(trip: Trip, request: InferenceRequested) -> None:
    """The request has its answer, and its client read it once and to the end."""
    finished = trip.truth(request)
    assert (finished.outcome, message_of(finished)) == ("completed", "Deep.")
    chunks = trip.seen(request)
    assert chunks[-1].kind == "end"
    if request.stream:
        assert text_of(chunks) == "Deep."
    else:
        assert b"".join(chunk.payload for chunk in chunks) == finished.response


# -- a caller that dies ----------------------------------------------------------------------------


@BOTH
async def test_nothing_is_called_before_its_start_is_acknowledged(
    tmp_path: Path, *, is_streamed: bool
) -> None:
    """Killed before: the log may or may not have the start; no call was made."""
    async with running_pipeline() as pipeline:
        trip = Trip(pipeline, first=ScriptedProvider(slowly))
        await trip.run(slots=tmp_path)
        pipeline.cluster.ack_delay_s = 60.0  # nothing is acknowledged
        request = body_of(trip, is_streamed=is_streamed)
        publish(pipeline, request)
        pipeline.cluster.ack_delay_s = 0.0
        trip.die_at("after_started")
        await pipeline.advance(1.0)
        assert trip.first.asked == []
        await trip.restart(slots=tmp_path)
        await pipeline.run_until_quiet()
        check_answered(trip, request)
        assert len(trip.first.asked) == 1
        assert kinds(trip) == {row_id(1): "unknown", row_id(2): "attempt"}


@BOTH
@pytest.mark.parametrize("policy", OnUnknown)
async def test_a_call_that_nobody_knows_the_end_of(
    tmp_path: Path, policy: OnUnknown, *, is_streamed: bool
) -> None:
    """Killed in the call, before any output: called again and recorded, or failed, by policy."""
    async with running_pipeline() as pipeline:
        trip = Trip(pipeline, first=ScriptedProvider(slowly), settings=by_policy(policy))
        await trip.run(slots=tmp_path)
        request = body_of(trip, is_streamed=is_streamed)
        publish(pipeline, request)
        await pipeline.advance(0.3)
        assert len(trip.first.asked) == 1
        await trip.callers[0].kill()
        await trip.restart(slots=tmp_path)
        await pipeline.run_until_quiet()
        if policy is OnUnknown.RETRY:
            check_answered(trip, request)
            assert len(trip.first.asked) == 2
            assert kinds(trip) == {row_id(1): "unknown", row_id(2): "attempt"}
            calls = trip.truth(request).calls
            assert [call.attempt for call in calls] == [1, 2]
            assert [call.error_code for call in calls] == ["stream_interrupted", ""]
        else:
            finished = trip.truth(request)
            assert finished.error is not None
            assert finished.error.code == "stream_interrupted"
            assert [chunk.kind for chunk in trip.seen(request)] == ["error"]
            assert len(trip.first.asked) == 1
            assert kinds(trip) == {row_id(1): "unknown"}
        row = trip.ledger()[row_id(1)]
        assert row.cost_nanousd == 9 * 1_000 + 64 * 2_000, "what was reserved"
        assert trip.truth(request).cost_nanousd == sum(
            it.cost_nanousd for it in trip.ledger().values()
        )


async def test_a_stream_that_has_begun_is_not_begun_again(tmp_path: Path) -> None:
    """Killed after the first chunk: the client gets an error, whatever the policy; one call."""
    async with running_pipeline() as pipeline:
        trip = Trip(pipeline, first=ScriptedProvider(slowly))
        await trip.run(slots=tmp_path)
        trip.die_at("after_first_chunk")
        request = trip.streaming()
        publish(pipeline, request)
        await pipeline.advance(1.0)
        await trip.restart(slots=tmp_path)
        await pipeline.run_until_quiet()
        chunks = trip.seen(request)
        assert [chunk.kind for chunk in chunks] == ["delta", "error"]
        assert text_of(chunks[:1]) == "De"
        finished = trip.truth(request)
        assert (finished.outcome, len(trip.first.asked)) == ("failed", 1)
        assert kinds(trip) == {row_id(1): "unknown"}


@BOTH
@pytest.mark.parametrize("place", ["after_call", "before_terminal"])
async def test_an_answer_that_the_client_has_is_not_asked_for_again(
    tmp_path: Path, place: str, *, is_streamed: bool
) -> None:
    """Killed between the last chunk and the terminal record: it is made from the chunks."""
    async with running_pipeline() as pipeline:
        trip = Trip(pipeline, first=ScriptedProvider(slowly))
        await trip.run(slots=tmp_path)
        trip.die_at(place)
        request = body_of(trip, is_streamed=is_streamed)
        publish(pipeline, request)
        await pipeline.advance(5.0)
        await trip.restart(slots=tmp_path)
        await pipeline.run_until_quiet()
        check_answered(trip, request)
        if is_streamed or place == "before_terminal":
            assert len(trip.first.asked) == 1
            assert kinds(trip) == {row_id(1): "attempt"}
        else:  # nobody has seen anything of it
            assert len(trip.first.asked) == 2
            assert kinds(trip) == {row_id(1): "unknown", row_id(2): "attempt"}


@BOTH
async def test_what_is_finished_is_answered_from_the_log(
    tmp_path: Path, *, is_streamed: bool
) -> None:
    """Killed before the commit: the same terminal record is written again, and nothing called."""
    async with running_pipeline() as pipeline:
        trip = Trip(pipeline, first=ScriptedProvider(slowly))
        await trip.run(slots=tmp_path)
        request = body_of(trip, is_streamed=is_streamed)
        publish(pipeline, request)
        await pipeline.advance(SLOW_S + 0.02)
        assert trip.ends(), "it is finished"
        assert pipeline.committed("model-caller-p0", Topic.REQUEST_BATCHES_P0) in (None, 0)
        await trip.callers[0].kill()
        await trip.restart(slots=tmp_path)
        await pipeline.run_until_quiet()
        raws = pipeline.cluster.records(Topic.INFERENCE_RESULTS)
        assert len(raws) == 2
        assert raws[0].value == raws[1].value
        check_answered(trip, request)
        assert len(trip.first.asked) == 1
        assert kinds(trip) == {row_id(1): "attempt"}
        assert [it.kind for it in trip.attempts()][:1] == ["started"]
        await pipeline.advance(1.0)
        assert pipeline.committed("model-caller-p0", Topic.REQUEST_BATCHES_P0) == 1


async def test_a_row_that_was_not_written_is_written_after_the_death(tmp_path: Path) -> None:
    """Killed between the end of a call and its row in the ledger: the row is no other for it."""
    async with running_pipeline() as pipeline:
        trip = Trip(pipeline, first=ScriptedProvider(slowly))
        await trip.run(slots=tmp_path)
        request = trip.request()
        publish(pipeline, request)
        await pipeline.advance(SLOW_S / 2)
        pipeline.cluster.unwritable.add(Topic.USAGE_LEDGER)
        await pipeline.advance(SLOW_S)
        assert "finished" in [it.kind for it in trip.attempts()]
        assert kinds(trip) == {}
        await trip.callers[0].kill()
        pipeline.cluster.unwritable.clear()
        await trip.restart(slots=tmp_path)
        await pipeline.run_until_quiet()
        check_answered(trip, request)
        assert kinds(trip) == {row_id(1): "attempt"}
        (call,) = trip.truth(request).calls
        (row,) = trip.ledger().values()
        assert (row.usage, row.cost_nanousd) == (call.usage, call.cost_nanousd)
        assert row.cost_nanousd > 0


async def test_calls_of_another_process_wait_for_its_silence() -> None:
    """Nobody holds the dead one's lock, so six seconds after its last sign of life have to tell."""
    async with running_pipeline(partitions=2) as pipeline:
        trip = Trip(pipeline, first=ScriptedProvider([whole(frames=[15.0])]))
        await trip.start()
        requests = [trip.request(number) for number in range(6)]
        for request in requests:
            publish(pipeline, request)
        await pipeline.advance(0.5)
        await pipeline.start(trip.stages.model_caller)  # parks those of one partition
        await pipeline.advance(3.0)
        assert len(trip.first.asked) == 6
        last_sign_ms = max(it.at for it in trip.attempts() if it.kind == "alive")
        await trip.callers[0].kill()
        await pipeline.advance(30.0)
        await pipeline.run_until_quiet()
        for request in requests:
            check_answered(trip, request)
        again_ms = [it.at for it in trip.attempts() if it.kind == "started" and it.attempt == 2]
        assert len(again_ms) == 6
        assert SILENCE_S <= (min(again_ms) - last_sign_ms) / 1000 <= SILENCE_S + 1
        assert Counter(kinds(trip).values()) == {"unknown": 6, "attempt": 6}


# -- a caller that lives ---------------------------------------------------------------------------


async def test_calls_go_on_when_their_partitions_go() -> None:
    """Scaled 1 to 2 to 1 with calls running: each is made once, wherever its partition is."""
    async with running_pipeline(partitions=4) as pipeline:

        def answer(asked: Asked) -> Script:
            is_streamed = asked.body.get("stream")
            if is_streamed:
                return streamed(piece("De"), *(4.0, piece("")) * 3, piece("ep."), *ENDING)
            return whole(frames=[15.0])

        trip = Trip(pipeline, first=ScriptedProvider(answer))
        await trip.start()
        requests = [
            body_of(trip, is_streamed=number % 2 == 0, number=number) for number in range(20)
        ]
        for request in requests:
            publish(pipeline, request)
        await pipeline.advance(1.0)
        assert len(trip.first.asked) == 20
        second = await pipeline.start(trip.stages.model_caller)
        await pipeline.advance(3.0)
        assert second.runtime.in_flight, "some are parked at the second"
        await second.stop()
        await pipeline.run_until_quiet()
        for request in requests:
            check_answered(trip, request)
        assert len(trip.first.asked) == 20
        assert Counter(kinds(trip).values()) == {"attempt": 20}


async def test_a_parked_request_outlives_a_call_longer_than_the_silence() -> None:
    """The old owner says every two seconds that it is alive; so nobody takes its calls over."""
    async with running_pipeline(partitions=2) as pipeline:
        trip = Trip(pipeline, first=ScriptedProvider([whole(frames=[18.0])]))
        await trip.start()
        requests = [trip.request(number) for number in range(6)]
        for request in requests:
            publish(pipeline, request)
        await pipeline.advance(0.5)
        await pipeline.start(trip.stages.model_caller)
        await pipeline.advance(19.0)
        await pipeline.run_until_quiet()
        for request in requests:
            check_answered(trip, request)
        assert len(trip.first.asked) == 6
        owners = {it.owner for it in trip.attempts() if it.kind == "finished"}
        assert len(owners) == 1, "the second did nothing but wait and repeat"


@BOTH
async def test_copies_of_a_request_whose_caller_died_are_called_again_once(
    tmp_path: Path, *, is_streamed: bool
) -> None:
    """Several batches hold it when the next caller looks up what became of it."""
    async with running_pipeline() as pipeline:
        trip = Trip(pipeline, first=ScriptedProvider(slowly))
        await trip.run(slots=tmp_path)
        request = body_of(trip, is_streamed=is_streamed)
        publish(pipeline, request)
        await pipeline.advance(0.3)
        await trip.callers[0].kill()
        for _ in range(3):
            assert deliver_again(pipeline, Topic.REQUEST_BATCHES_P0)
        await trip.restart(slots=tmp_path)
        await pipeline.run_until_quiet()
        check_answered(trip, request)
        assert len(trip.first.asked) == 2
        assert kinds(trip) == {row_id(1): "unknown", row_id(2): "attempt"}


@BOTH
@pytest.mark.parametrize("again_s", [0.001, 1.0, 5.0], ids=["at once", "in the call", "after it"])
@pytest.mark.parametrize("topic", [Topic.CACHE_MISSES, Topic.ROUTED_REQUESTS])
async def test_a_duplicate_in_another_batch_is_not_called(
    pipeline: Pipeline, topic: str, again_s: float, *, is_streamed: bool
) -> None:
    """A router or batcher that delivers again makes a new batch, and the request is known in it."""
    trip = Trip(pipeline, first=ScriptedProvider(slowly))
    await trip.start()
    request = body_of(trip, is_streamed=is_streamed)
    publish(pipeline, request)
    await pipeline.advance(again_s + 0.02)
    assert deliver_again(pipeline, topic)
    await pipeline.run_until_quiet()
    check_answered(trip, request)
    assert len(trip.first.asked) == 1
    assert kinds(trip) == {row_id(1): "attempt"}
    assert len({raw.value for raw in pipeline.cluster.records(Topic.INFERENCE_RESULTS)}) == 1


async def test_every_attempt_has_its_row(pipeline: Pipeline) -> None:
    """Failed attempts too; the terminal record costs what the ledger says."""
    answers = [Script(status=500, frames=[b"{}"]), whole()]
    trip = Trip(pipeline, first=ScriptedProvider(answers))
    await trip.start()
    await trip.ask(trip.request(model="only"))
    finished = trip.end_of(request_id())
    rows = trip.ledger()
    assert {it: row.error_code for it, row in rows.items()} == {
        row_id(1): "provider_error",
        row_id(2): "",
    }
    assert sum(row.cost_nanousd for row in rows.values()) == finished.cost_nanousd > 0
    assert rows[row_id(2)].usage == finished.usage
    assert (rows[row_id(2)].tenant, rows[row_id(2)].key_id) == ("acme", "key-1")
    log = [(it.kind, it.attempt, it.outcome, bool(it.result)) for it in trip.attempts()]
    assert log == [
        ("started", 1, "", False),
        ("finished", 1, "failed", False),
        ("started", 2, "", False),
        ("finished", 2, "answered", True),
    ]


async def test_members_of_a_merged_call_each_have_attempt_and_row(pipeline: Pipeline) -> None:
    """One call, one attempt a member; shares of the cost add up."""
    trip = Trip(pipeline)
    await trip.start()
    body = b'{"model":"embed","input":"%d"}'
    requests = [
        trip.request(number, operation="embeddings", model="embed", body=body % number)
        for number in range(3)
    ]
    await trip.ask(*requests)
    assert len(trip.first.asked) == 1
    assert kinds(trip) == {row_id(1, number): "attempt" for number in range(3)}
    assert Counter(it.kind for it in trip.attempts()) == {"started": 3, "finished": 3}


# -- cancelling ------------------------------------------------------------------------------------


def cancel(trip: Trip, request: InferenceRequested, *, tenant: str = "acme") -> None:
    """Ask for a request to be cancelled, as a gateway does."""
    wish = ControlRequested(
        action="cancel",
        request_id=request.request_id,
        tenant=tenant,
        at=int(trip.pipeline.clock.now_ms()),
        reason="asked",
    )
    trip.pipeline.pipe_input(Topic.CONTROL, wish)


def check_cancelled(trip: Trip, request: InferenceRequested, seen: list[str]) -> None:
    """The request is cancelled, and its client was told."""
    finished = trip.truth(request)
    assert finished.outcome == "cancelled"
    assert finished.error is not None
    assert finished.error.code == "request_cancelled"
    chunks = trip.seen(request)
    assert [chunk.kind for chunk in chunks] == seen
    assert chunks[-1].status == 499


@BOTH
async def test_a_running_call_is_stopped_at_once(pipeline: Pipeline, *, is_streamed: bool) -> None:
    """The provider's connection is closed, and what it wrote until then is estimated and paid."""
    trip = Trip(pipeline, first=ScriptedProvider(slowly))
    await trip.start()
    request = body_of(trip, is_streamed=is_streamed)
    publish(pipeline, request)
    await pipeline.advance(1.0)
    assert trip.first.in_flight == 1
    cancel(trip, request)
    await pipeline.advance(0.1)
    assert trip.first.in_flight == 0
    await pipeline.run_until_quiet()
    check_cancelled(trip, request, ["delta", "error"] if is_streamed else ["error"])
    (row,) = trip.ledger().values()
    assert (row.kind, row.error_code) == ("attempt", "request_cancelled")
    assert row.usage.is_estimated
    assert (row.usage.input_tokens, row.usage.output_tokens) == (9, 1 if is_streamed else 0)
    assert row.cost_nanousd == trip.truth(request).cost_nanousd > 0
    assert len(trip.first.asked) == 1


async def test_a_cancel_that_comes_first_is_remembered(pipeline: Pipeline) -> None:
    """The request is ended without a call when it comes."""
    trip = Trip(pipeline)
    await trip.start()
    request = trip.request()
    cancel(trip, request)
    await pipeline.advance(600.0)
    late = trip.request()
    await trip.ask(late)
    check_cancelled(trip, late, ["error"])
    assert trip.first.asked == []
    assert trip.ledger() == {}


async def test_a_cancel_that_comes_too_late_changes_nothing(pipeline: Pipeline) -> None:
    """What is finished stays finished."""
    trip = Trip(pipeline)
    await trip.start()
    request = trip.request()
    await trip.ask(request)
    cancel(trip, request)
    await pipeline.run_until_quiet()
    check_answered(trip, request)
    assert len(trip.ends()) == 1


async def test_another_tenant_cancels_nothing(pipeline: Pipeline) -> None:
    """Whoever guesses an id of somebody else gets nowhere."""
    trip = Trip(pipeline, first=ScriptedProvider(slowly))
    await trip.start()
    request = trip.request()
    publish(pipeline, request)
    await pipeline.advance(1.0)
    cancel(trip, request, tenant="other")
    await pipeline.run_until_quiet()
    check_answered(trip, request)


async def test_a_cancel_between_two_attempts_ends_the_request(pipeline: Pipeline) -> None:
    """The failed attempt keeps its row; there is no second call."""
    refusal = Script(status=429, headers={"retry-after-ms": "1900"}, frames=[b"{}"])
    trip = Trip(pipeline, first=ScriptedProvider([refusal]))
    await trip.start()
    request = trip.request(model="only")
    publish(pipeline, request)
    await pipeline.advance(1.0)
    cancel(trip, request)
    await pipeline.run_until_quiet()
    check_cancelled(trip, request, ["error"])
    assert len(trip.first.asked) == 1
    assert [row.error_code for row in trip.ledger().values()] == ["provider_rate_limited"]
    assert deliver_again(pipeline, Topic.ROUTED_REQUESTS)
    await pipeline.run_until_quiet()
    assert len(trip.first.asked) == 1


# -- a caller that stood still ---------------------------------------------------------------------


async def test_a_caller_that_stood_still_is_not_believed(tmp_path: Path) -> None:
    """What it had handed to its producer reaches the log late, and ends nothing a second time."""
    async with running_pipeline() as pipeline:
        trip = Trip(pipeline, first=ScriptedProvider(slowly))
        await trip.run(slots=tmp_path)
        request = trip.streaming()
        publish(pipeline, request)
        await pipeline.advance(1.0)
        await trip.callers[0].kill()  # all that others can see of one that stands still
        await trip.restart(slots=tmp_path)
        await pipeline.run_until_quiet()
        truth, seen = trip.truth(request), trip.seen(request)
        assert [chunk.kind for chunk in seen] == ["delta", "error"]
        write_late(trip, request)
        assert trip.seen(request) == seen
        assert trip.truth(request) == truth
        row = trip.ledger()[row_id(1)]
        assert (row.kind, row.cost_nanousd) == ("attempt", 77), "but the ledger knows more now"
        await trip.callers[-1].kill()
        await trip.restart(slots=tmp_path)  # reads the late end back, too
        assert deliver_again(pipeline, Topic.REQUEST_BATCHES_P0)
        await pipeline.run_until_quiet()
        assert trip.ends()[-1] == truth
        assert len(trip.first.asked) == 1


def write_late(trip: Trip, request: InferenceRequested) -> None:
    """The end of a stream, by the run that began it."""
    (started,) = [it for it in trip.attempts() if it.kind == "started"]
    chunk = ResultChunk(
        request_id=request.request_id,
        run=started.owner,
        attempt=1,
        seq=1,
        kind="end",
        payload=b'{"choices":[]}',
    )
    terminal = finished(request_id=request.request_id, cost_nanousd=77)
    row = UsageRecorded(row_id=row_id(1), kind="attempt", tenant="acme", cost_nanousd=77)
    end = msgspec.structs.replace(
        started, kind="finished", outcome="answered", result=encode_record(terminal)
    )
    trip.pipeline.pipe_input(Topic.RESULT_CHUNKS, chunk, partition=3)
    trip.pipeline.pipe_input(Topic.MODEL_CALL_ATTEMPTS, end)
    trip.pipeline.pipe_input(Topic.INFERENCE_RESULTS, terminal)
    trip.pipeline.pipe_input(Topic.USAGE_LEDGER, row, key=b"acme")
