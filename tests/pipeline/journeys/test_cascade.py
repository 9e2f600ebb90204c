"""The first target's answer is judged, and the next target asked where it is doubtful."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from services.shared.domain.configuration import Configuration, Model, ModelTarget
from services.shared.domain.configuration_output import FeatureOutput, Output, WhenInvalid
from services.shared.domain.configuration_routing import Cascade, CascadeStream
from services.shared.domain.events import (
    FeedbackGiven,
    InferenceRequested,
    ModelCallAttempt,
    RequestRouted,
    Route,
    Target,
    UsageRecorded,
)
from services.shared.domain.money import Price
from services.shared.domain.topics import Topic
from tests.pipeline.journeys.travel import STREAMING, Travel, message_of, text_of
from tests.support.example_events import routed
from tests.support.pipeline import Pipeline, running_pipeline
from tests.support.scripted_provider import (
    ENDING,
    FOREVER,
    Frame,
    Script,
    ScriptedProvider,
    piece,
    refused,
    streamed,
    whole,
)
from tests.support.stages import PRICE, configuration

GOOD = "The sea is 3,700 metres deep on average, and 11,000 metres at its deepest place."
DOUBTFUL = "I'm not sure, but I think that I cannot determine this. Perhaps it is deep."
_PRICE = Price(input_nanousd_per_mtok=1_000_000_000, output_nanousd_per_mtok=2_000_000_000)
_JSON_BODY = (
    b'{"model":"small","messages":[{"role":"user","content":"Name a sea."}],'
    b'"response_format":{"type":"json_schema","json_schema":{"name":"sea","schema":'
    b'{"type":"object","required":["name"],"properties":{"name":{"type":"string"}}}}}}'
)


def settings(*, cascade: Cascade | None = None, output: Output | None = None) -> Configuration:
    """The usual configuration, with these sections of the alias ``small``."""
    targets = tuple(
        ModelTarget(provider=name, model=f"{name}-model", price=PRICE)
        for name in ("first", "second")
    )
    small = Model(targets=targets, cascade=cascade or Cascade(), output=output or Output())
    return configuration(
        models={"small": small},
        features={"terse": FeatureOutput(default_max_tokens=50, max_tokens=100)},
    )


class Journey(Travel):
    """Requests from the router's topic on, on a route that is a cascade unless it is said."""

    async def begin(self, *, slots: Path | None = None) -> None:
        """Start the stages after the router."""
        for stage in (self.stages.batcher, self.stages.model_caller, self.stages.cache_writer):
            await self.pipeline.start(stage, slots=slots)

    def send(
        self,
        request: InferenceRequested,
        *,
        is_cascade: bool = True,
        names: Sequence[str] = ("first", "second"),
    ) -> None:
        """Put a routed request on its topic."""
        route = Route(
            alias="small",
            strategy="cascade" if is_cascade else "fixed",
            reason="the weakest first",
            config_version="0000000000000000",
            targets=tuple(
                Target(provider=name, model=f"{name}-model", price=_PRICE) for name in names
            ),
            is_cascade=is_cascade,
        )
        event: RequestRouted = msgspec.structs.replace(routed(request=request), route=route)
        self.pipeline.pipe_input(Topic.ROUTED_REQUESTS, event)

    async def travel(self, request: InferenceRequested, **options: Any) -> None:
        """Start everything, send a request, and let everything happen."""
        await self.begin()
        self.send(request, **options)
        await self.pipeline.run_until_quiet()

    def feedback(self) -> list[FeedbackGiven]:
        """What was said of answers."""
        given = self.pipeline.read_output(Topic.FEEDBACK)
        return [event for event in given if isinstance(event, FeedbackGiven)]

    def rows(self) -> list[UsageRecorded]:
        """The rows of the ledger."""
        rows = self.pipeline.read_output(Topic.USAGE_LEDGER)
        return [event for event in rows if isinstance(event, UsageRecorded)]

    def header(self, name: str, request: InferenceRequested) -> str:
        """A response header."""
        return self.chunks_of(request.request_id)[0].headers.get(name, "")


def saying(*scripts: Script) -> ScriptedProvider:
    """A provider that plays these in turn."""
    return ScriptedProvider(scripts)


def stream_of(text: str, *, pause_s: float = 0.0) -> Script:
    """A stream of a text, a word a piece."""
    words: list[Frame] = []
    for word in text.split(" "):
        words += [piece(f"{word} "), pause_s]
    return streamed(*words, *ENDING)


# -- whole answers ---------------------------------------------------------------------------------


async def test_a_good_answer_of_the_first_target_is_handed_on(pipeline: Pipeline) -> None:
    """One call, its confidence on record and in the header, no feedback."""
    trip = Journey(pipeline, first=saying(whole(GOOD)))
    request = trip.request()
    await trip.travel(request)
    end = trip.end_of(request.request_id)
    assert message_of(end) == GOOD
    assert trip.second.asked == []
    (call,) = end.calls
    assert call.confidence >= 0.7
    assert "text, whole" in call.verdict
    assert (
        trip.header("x-millrace-cascade", request) == f"accepted; confidence={call.confidence:.2f}"
    )
    assert trip.feedback() == []


async def test_a_doubtful_answer_is_left_for_the_next_target(pipeline: Pipeline) -> None:
    """Both calls are paid and on record; the second answer is not judged; feedback says why."""
    trip = Journey(pipeline, first=saying(whole(DOUBTFUL)), second=saying(whole(GOOD)))
    request = trip.request()
    await trip.travel(request)
    end = trip.end_of(request.request_id)
    assert message_of(end) == GOOD
    weak, strong = end.calls
    assert weak.confidence < 0.7
    assert "refuses" in weak.verdict
    assert (strong.confidence, strong.verdict) == (-1.0, "")
    assert (weak.error_code, weak.attempt, strong.attempt) == ("", 1, 2)
    assert end.cost_nanousd == weak.cost_nanousd + strong.cost_nanousd > weak.cost_nanousd
    rows = trip.rows()
    assert [(row.provider, row.error_code) for row in rows] == [("first", ""), ("second", "")]
    (given,) = trip.feedback()
    assert (given.source, given.score) == ("escalation", weak.confidence)
    assert given.feedback_id == f"{request.request_id}-1-escalation"
    assert trip.header("x-millrace-cascade", request).startswith("escalated; confidence=0.")
    assert trip.header("x-millrace-route-target", request) == "second/second-model"
    assert trip.header("x-millrace-attempts", request) == "2"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        pytest.param(whole(""), "hard fault: empty", id="empty"),
        pytest.param(
            whole(
                choices=[
                    {
                        "index": 0,
                        "message": {"role": "assistant", "content": "The sea is"},
                        "finish_reason": "length",
                    }
                ]
            ),
            "hard fault: length",
            id="cut off",
        ),
    ],
)
async def test_a_hard_fault_is_worth_nothing(
    pipeline: Pipeline, answer: Script, reason: str
) -> None:
    """Confidence 0, whatever the calibration says."""
    trip = Journey(pipeline, first=saying(answer), second=saying(whole(GOOD)))
    request = trip.request()
    await trip.travel(request)
    end = trip.end_of(request.request_id)
    assert (end.calls[0].confidence, end.calls[0].verdict) == (0.0, reason)
    assert message_of(end) == GOOD


async def test_the_last_target_s_answer_is_handed_on_whatever_it_is_worth(
    pipeline: Pipeline,
) -> None:
    """There is nobody else to ask."""
    trip = Journey(pipeline, first=saying(whole(DOUBTFUL)), second=saying(whole(DOUBTFUL)))
    request = trip.request()
    await trip.travel(request)
    assert message_of(trip.end_of(request.request_id)) == DOUBTFUL
    assert len(trip.second.asked) == 1


async def test_a_doubtful_answer_is_better_than_an_error(pipeline: Pipeline) -> None:
    """The next target fails: the first answer is handed on, said so, and not cached."""
    trip = Journey(pipeline, first=saying(whole(DOUBTFUL)), second=saying(refused(401)))
    request = trip.request()
    await trip.travel(request)
    end = trip.end_of(request.request_id)
    assert (end.outcome, message_of(end)) == ("completed", DOUBTFUL)
    assert [call.error_code for call in end.calls] == ["", "provider_authentication"]
    assert trip.header("x-millrace-cascade", request).startswith("kept; confidence=0.")
    assert end.cache_policy.no_store
    assert trip.stages.cache.entries == {}


async def test_without_a_cascade_nothing_is_judged(pipeline: Pipeline) -> None:
    """A fixed route hands on what it gets."""
    trip = Journey(pipeline, first=saying(whole(DOUBTFUL)))
    request = trip.request()
    await trip.travel(request, is_cascade=False)
    end = trip.end_of(request.request_id)
    assert message_of(end) == DOUBTFUL
    assert end.calls[0].confidence == -1.0
    assert trip.header("x-millrace-cascade", request) == ""


# -- streams ---------------------------------------------------------------------------------------


async def test_a_buffered_stream_is_shown_once_it_is_judged(pipeline: Pipeline) -> None:
    """Nothing before, all of it after; the provider's own pieces."""
    trip = Journey(pipeline, first=saying(stream_of(GOOD, pause_s=0.1)))
    request = trip.streaming()
    await trip.begin()
    trip.send(request)
    await pipeline.advance(1.0)
    assert trip.chunks_of(request.request_id) == []
    await pipeline.run_until_quiet()
    chunks = trip.chunks_of(request.request_id)
    assert text_of(chunks).strip() == GOOD
    assert [chunk.seq for chunk in chunks] == list(range(len(chunks)))
    assert chunks[-1].kind == "end"
    assert chunks[0].headers["x-millrace-cascade"].startswith("accepted")


async def test_a_doubtful_stream_is_never_shown(pipeline: Pipeline) -> None:
    """The client sees the second target's stream alone, at once."""
    trip = Journey(pipeline, first=saying(stream_of(DOUBTFUL)), second=saying(stream_of(GOOD)))
    request = trip.streaming()
    await trip.travel(request)
    chunks = trip.chunks_of(request.request_id)
    assert text_of(chunks).strip() == GOOD
    assert {chunk.attempt for chunk in chunks} == {2}
    assert chunks[0].headers["x-millrace-cascade"].startswith("escalated")


async def test_a_held_stream_that_breaks_is_repeated(pipeline: Pipeline) -> None:
    """Nobody has seen any of it, so nothing is interrupted."""
    trip = Journey(
        pipeline,
        first=saying(streamed(piece("The sea"), *[FOREVER]), stream_of(GOOD)),
        second=saying(stream_of(GOOD)),
    )
    request = trip.streaming()
    await trip.travel(request)
    end = trip.end_of(request.request_id)
    assert end.outcome == "completed"
    assert [call.error_code for call in end.calls] == ["provider_timeout", ""]


async def test_a_good_beginning_is_streamed_on(pipeline: Pipeline) -> None:
    """Under ``prefix`` the client sees words before the end, and the header says accepted."""
    cascade = Cascade(stream=CascadeStream.PREFIX, prefix_tokens=4)
    trip = Journey(
        pipeline,
        first=saying(stream_of(GOOD, pause_s=0.2)),
        settings=settings(cascade=cascade),
    )
    request = trip.streaming()
    await trip.begin()
    trip.send(request)
    await pipeline.advance(2.0)
    assert trip.first.in_flight == 1
    early = trip.chunks_of(request.request_id)
    assert "The sea is" in text_of(early)
    assert early[0].headers["x-millrace-cascade"].startswith("accepted")
    await pipeline.run_until_quiet()
    assert text_of(trip.chunks_of(request.request_id)).strip() == GOOD
    assert "prefix" in trip.end_of(request.request_id).calls[0].verdict


async def test_a_doubtful_beginning_is_broken_off(pipeline: Pipeline) -> None:
    """The rest of it is neither waited for nor paid; the next target's stream is shown."""
    cascade = Cascade(stream=CascadeStream.PREFIX, prefix_tokens=12)
    trip = Journey(
        pipeline,
        first=saying(stream_of(f"{DOUBTFUL} {GOOD}", pause_s=0.2)),
        second=saying(stream_of(GOOD)),
        settings=settings(cascade=cascade),
    )
    request = trip.streaming()
    await trip.travel(request)
    chunks = trip.chunks_of(request.request_id)
    assert text_of(chunks).strip() == GOOD
    weak, strong = trip.end_of(request.request_id).calls
    assert weak.usage.is_estimated
    assert 0 < weak.usage.output_tokens < 25
    assert (weak.error_code, strong.error_code) == ("", "")
    assert "prefix" in weak.verdict
    assert trip.first.in_flight == 0


async def test_a_skipped_stream_is_the_first_target_s(pipeline: Pipeline) -> None:
    """Not judged, not held back, and said so."""
    trip = Journey(
        pipeline,
        first=saying(stream_of(DOUBTFUL)),
        settings=settings(cascade=Cascade(stream=CascadeStream.SKIP)),
    )
    request = trip.streaming()
    await trip.travel(request)
    assert text_of(trip.chunks_of(request.request_id)).strip() == DOUBTFUL
    assert trip.header("x-millrace-cascade", request) == "skipped"


# -- paid once -------------------------------------------------------------------------------------


async def test_a_crash_after_the_first_answer_does_not_ask_for_it_again(tmp_path: Path) -> None:
    """The log says that the first target answered, not well enough: only the second is repeated."""
    async with running_pipeline() as pipeline:
        slow = Script(
            headers={"content-type": "application/json"}, before=[20.0], frames=whole(GOOD).frames
        )
        trip = Journey(pipeline, first=saying(whole(DOUBTFUL)), second=saying(slow, whole(GOOD)))
        request = trip.request(deadline_at=int(pipeline.clock.now_ms()) + 300_000)
        await trip.begin(slots=tmp_path)
        trip.send(request)
        await pipeline.advance(2.0)
        assert (len(trip.first.asked), len(trip.second.asked)) == (1, 1)
        await trip.kill_and_restart("model-caller", slots=tmp_path)
        await pipeline.run_until_quiet()
        end = trip.end_of(request.request_id)
        assert message_of(end) == GOOD
        assert (len(trip.first.asked), len(trip.second.asked)) == (1, 2)
        kinds = [(row.provider, row.kind, row.attempt) for row in trip.rows()]
        assert kinds == [
            ("first", "attempt", 1),
            ("second", "unknown", 2),
            ("second", "attempt", 3),
        ]
        attempts = [
            (it.kind, it.attempt, it.outcome)
            for it in pipeline.read_output(Topic.MODEL_CALL_ATTEMPTS)
            if isinstance(it, ModelCallAttempt) and it.kind != "alive"
        ]
        assert attempts[:3] == [
            ("started", 1, ""),
            ("finished", 1, "answered"),
            ("started", 2, ""),
        ]
        assert trip.header("x-millrace-cascade", request) == "escalated"


# -- answers that have to be JSON ------------------------------------------------------------------


def demanding(trip: Journey, **changes: Any) -> InferenceRequested:
    """A request for JSON of a schema."""
    return trip.request(body=_JSON_BODY, has_response_format=True, **changes)


async def _asked_for_json(
    pipeline: Pipeline, when: WhenInvalid, *answers: str, second: str = '{"name": "North Sea"}'
) -> tuple[Journey, InferenceRequested]:
    trip = Journey(
        pipeline,
        first=saying(*map(whole, answers)),
        second=saying(whole(second)),
        settings=settings(output=Output(when_invalid=when)),
    )
    request = demanding(trip)
    await trip.travel(request, is_cascade=False)
    return trip, request


@pytest.mark.parametrize("when", list(WhenInvalid))
async def test_what_is_asked_for_passes(pipeline: Pipeline, when: WhenInvalid) -> None:
    """Valid JSON is handed on as it is written, under every policy."""
    trip, request = await _asked_for_json(pipeline, when, '{ "name": "Red Sea" }')
    assert message_of(trip.end_of(request.request_id)) == '{ "name": "Red Sea" }'
    assert len(trip.first.asked) == 1


async def test_what_is_not_is_refused_by_policy(pipeline: Pipeline) -> None:
    """Under ``fail`` the request ends in a typed error that quotes nothing."""
    trip, request = await _asked_for_json(pipeline, WhenInvalid.FAIL, '{"title": "Red Sea"}')
    end = trip.end_of(request.request_id)
    assert end.error is not None
    assert (end.outcome, end.error.code, end.error.status) == ("failed", "answer_invalid", 502)
    assert "Red Sea" not in end.error.message
    assert "required" in end.error.message
    (row,) = trip.rows()
    assert row.cost_nanousd > 0


async def test_what_surrounds_the_json_is_cut_off(pipeline: Pipeline) -> None:
    """Under ``repair``, without another call."""
    fenced = 'Here it is:\n```json\n{"name": "Red Sea"}\n```\nAnything else?'
    trip, request = await _asked_for_json(pipeline, WhenInvalid.REPAIR, fenced)
    assert message_of(trip.end_of(request.request_id)) == '{"name": "Red Sea"}'
    assert len(trip.first.asked) == 1


async def test_what_cannot_be_mended_is_asked_for_once_more(pipeline: Pipeline) -> None:
    """Under ``repair`` the same target is told what is wrong; both calls are paid."""
    trip, request = await _asked_for_json(
        pipeline, WhenInvalid.REPAIR, "The Red Sea.", '{"name": "Red Sea"}'
    )
    assert message_of(trip.end_of(request.request_id)) == '{"name": "Red Sea"}'
    again = trip.first.asked[1].body["messages"]
    assert again[1] == {"role": "assistant", "content": "The Red Sea."}
    assert "it is not JSON" in again[2]["content"]
    assert [row.attempt for row in trip.rows()] == [1, 2]
    assert trip.second.asked == []


async def test_it_is_asked_for_once_more_only_once(pipeline: Pipeline) -> None:
    """Then the request fails."""
    trip, request = await _asked_for_json(pipeline, WhenInvalid.REPAIR, "No.", "Still no.")
    end = trip.end_of(request.request_id)
    assert end.error is not None
    assert end.error.code == "answer_invalid"
    assert len(trip.first.asked) == 2


async def test_the_next_target_is_asked_by_policy(pipeline: Pipeline) -> None:
    """Under ``escalate``, on any route that has another target; the last one's has to be valid."""
    trip, request = await _asked_for_json(pipeline, WhenInvalid.ESCALATE, "The Red Sea.")
    assert message_of(trip.end_of(request.request_id)) == '{"name": "North Sea"}'
    assert (len(trip.first.asked), len(trip.second.asked)) == (1, 1)


async def test_a_mended_stream_is_a_stream(pipeline: Pipeline) -> None:
    """A streamed answer is held back, mended, and shown as pieces with an end."""
    trip = Journey(
        pipeline,
        first=saying(stream_of('Sure: {"name": "Red Sea"} Bye.')),
        settings=settings(output=Output(when_invalid=WhenInvalid.REPAIR)),
    )
    request = demanding(trip, stream=True, include_usage=True)
    body = {**json.loads(_JSON_BODY), "stream": True, "stream_options": {"include_usage": True}}
    request = msgspec.structs.replace(request, body=msgspec.json.encode(body))
    await trip.travel(request, is_cascade=False)
    chunks = trip.chunks_of(request.request_id)
    assert text_of(chunks) == '{"name": "Red Sea"}'
    last = json.loads(chunks[-2].payload.split(b"\n")[-1] if not chunks[-1].payload else b"{}")
    assert last.get("usage", {}).get("prompt_tokens", 9) == 9


# -- length and prompt -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "body", "expected", "header"),
    [
        pytest.param(
            {"max_output_tokens": 0}, {}, ("max_completion_tokens", 50), "50; by=default", id="none"
        ),
        pytest.param(
            {"max_output_tokens": 400},
            {"max_tokens": 400},
            ("max_tokens", 100),
            "100; by=cap",
            id="too many, in the old field",
        ),
        pytest.param(
            {"max_output_tokens": 20},
            {"max_completion_tokens": 20},
            ("max_completion_tokens", 20),
            "",
            id="few enough",
        ),
    ],
)
async def test_a_feature_s_answers_are_capped(
    pipeline: Pipeline,
    changes: dict[str, int],
    body: dict[str, int],
    expected: tuple[str, int],
    header: str,
) -> None:
    """In the field that the caller used; never more than he asks for; the header says so."""
    trip = Journey(pipeline, settings=settings())
    message = {"role": "user", "content": "How deep?"}
    document = {"model": "small", "messages": [message], **body}
    request = trip.request(body=msgspec.json.encode(document), feature="terse", **changes)
    await trip.travel(request, is_cascade=False)
    (asked,) = trip.first.asked
    caps = {name: value for name, value in asked.body.items() if name.startswith("max_")}
    assert caps == dict([expected])
    assert trip.header("x-millrace-max-tokens", request) == header


async def test_another_feature_s_answers_are_not(pipeline: Pipeline) -> None:
    """Caps are by feature and alias."""
    trip = Journey(pipeline, settings=settings())
    request = trip.request(max_output_tokens=0, feature="other")
    await trip.travel(request, is_cascade=False)
    assert not [name for name in trip.first.asked[0].body if name.startswith("max_")]


async def test_a_prompt_is_compacted(pipeline: Pipeline) -> None:
    """What is left out is counted in the header; the caller's own words arrive."""
    trip = Journey(pipeline, settings=settings(output=Output(compact_prompt=True)))
    context = "The sea is deep, and what lives in it is seldom seen by anybody at all. " * 6
    content = f"{context.strip()}\n\nAs I  said:\n\n{context.strip()}\n\nHow deep is it?"
    document = {"model": "small", "messages": [{"role": "user", "content": content}]}
    request = trip.request(body=msgspec.json.encode(document))
    await trip.travel(request, is_cascade=False)
    sent = trip.first.asked[0].body["messages"][0]["content"]
    assert sent.count(context.strip()) == 1
    assert sent.endswith("How deep is it?")
    assert "As I said:" in sent
    assert int(trip.header("x-millrace-tokens-saved", request)) == (len(content) - len(sent)) // 4


async def test_streaming_bodies_are_as_they_were(pipeline: Pipeline) -> None:
    """Without levers and cascade a stream is handed on as it comes."""
    trip = Journey(pipeline)
    request = trip.streaming(body=STREAMING)
    await trip.travel(request, is_cascade=False)
    assert text_of(trip.chunks_of(request.request_id)) == "Deep."
