"""``millrace route fit --cascade``: judged answers in, a better calibration out, or none."""

import json
import random
from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import msgspec
import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from services.cli.errors import CommandError
from services.cli.invocation import Invocation
from services.cli.route.answers import JudgedAnswer, answers_from_feedback, call_that_answered
from services.cli.route.fit_cascade import fit_cascade
from services.cli.route.recalibrate import (
    LEAST_ANSWERS,
    bend_of,
    calibration_error,
    recalibrate,
)
from services.shared.adapters.cascade_calibration import SHIPPED, read_calibration
from services.shared.domain.cascade.calibration import (
    Calibration,
    Fit,
    logistic,
    logit,
    recalibrated,
)
from services.shared.domain.events import (
    Event,
    FeedbackGiven,
    InferenceFinished,
    InferenceRequested,
    ModelCall,
)
from tests.unit.cli.route.memory_topic import MemoryTopic

BASE = Calibration([Fit(intercept=2.0, weights={"hedges": -1.0}), Fit(part="prefix")])
WORDS = "It is because the moon pulls at the water."


def _answers(count: int, *, shift: float, scale: float, seed: int = 1) -> list[JudgedAnswer]:
    """Answers that are good with another probability than the old calibration says."""
    rng = random.Random(seed)
    found = []
    for index in range(count):
        signals = {"hedges": float(rng.randrange(4))}
        p = logistic(shift + scale * (2.0 - signals["hedges"]))
        found.append(
            JudgedAnswer(
                prompt=f"prompt {index}",
                model="p/small",
                task="text",
                signals=signals,
                score=float(rng.random() < p),
            )
        )
    return found


def test_a_calibration_that_is_wrong_for_a_target_is_bent() -> None:
    """Out of fold its error is small where the old one's was not; others keep the old one."""
    result = recalibrate(BASE, "p/small", _answers(600, shift=-1.0, scale=0.5))
    assert result.is_better
    assert result.old.error > 0.2
    assert result.new.error < 0.08
    bent = Calibration([*BASE.fits, *result.fits])
    for hedges in (0.0, 3.0):
        fit = bent.fit_for("p/small", "math", "whole")
        assert fit is not None
        true = logistic(-1.0 + 0.5 * (2.0 - hedges))
        assert fit.probability({"hedges": hedges}) == pytest.approx(true, abs=0.08)
    assert bent.fit_for("p/other", "math", "whole") == BASE.fit_for("p/other", "math", "whole")
    assert bent.fit_for("p/small", "math", "prefix") == BASE.fit_for("p/small", "math", "prefix")


def test_a_calibration_that_is_right_is_hardly_changed() -> None:
    """What is fitted is drawn to the old numbers."""
    result = recalibrate(BASE, "p/small", _answers(400, shift=0.0, scale=1.0))
    (fit,) = result.fits
    assert fit.scale == pytest.approx(1.0, abs=0.3)
    assert fit.shift == pytest.approx(0.0, abs=0.3)
    assert fit.rows == 400


def test_fits_of_kinds_of_tasks_stay_apart() -> None:
    """Each that held for the target is bent, so the most particular one still applies."""
    base = Calibration([Fit(intercept=1.0), Fit(intercept=0.0, task="text"), Fit(part="prefix")])
    result = recalibrate(base, "p/small", _answers(200, shift=0.0, scale=0.0))
    assert [(fit.model, fit.task, fit.part) for fit in result.fits] == [
        ("p/small", "*", "whole"),
        ("p/small", "text", "whole"),
    ]


def test_confidence_that_says_the_opposite_is_made_flat() -> None:
    """It is not turned round: a signal that misleads in some hundred answers is no signal."""
    bend = bend_of([(0.9, 0.0), (0.1, 1.0)] * 50)
    assert bend.scale == 0.0
    assert logistic(bend.shift) == pytest.approx(0.5)


@given(st.floats(0.02, 0.98), st.integers(0, 200))
def test_a_sure_and_wrong_confidence_is_brought_to_how_often_it_is_right(
    confidence: float, right: int
) -> None:
    """However far it is away: a step too long would swing from one side to the other."""
    bend = bend_of([(confidence, 1.0)] * right + [(confidence, 0.0)] * (200 - right))
    told = logistic(bend.shift + bend.scale * logit(confidence))
    assert told == pytest.approx(right / 200, abs=0.05)


@given(st.floats(-3, 3), st.floats(0, 3), st.floats(-6, 6))
def test_bending_is_the_same_with_knots_and_without(
    shift: float, scale: float, score: float
) -> None:
    """The logit of what comes out is shifted and scaled, and knots ascend as before."""
    plain = Fit(intercept=score)
    knots = tuple((x / 4, logistic(x / 4)) for x in range(-28, 29))
    bent, with_knots = (
        recalibrated(fit, shift, scale)
        for fit in (plain, msgspec.structs.replace(plain, knots=knots))
    )
    assert bent.probability({}) == pytest.approx(logistic(shift + scale * score))
    assert with_knots.probability({}) == pytest.approx(bent.probability({}), abs=0.02)
    assert list(with_knots.knots) == sorted(with_knots.knots)


def test_the_calibration_error_is_the_mean_gap_of_bins() -> None:
    """Nothing where the shares are as foretold."""
    assert calibration_error([0.5, 0.5, 1.0, 1.0], [0.0, 1.0, 1.0, 1.0], bins=2) == 0
    assert calibration_error([0.9] * 4, [0.0, 1.0, 1.0, 0.0], bins=1) == pytest.approx(0.4)
    assert logit(0.0) == pytest.approx(-logit(1.0)) == pytest.approx(-6.9, abs=0.01)


def _call(model: str = "small", **fields: Any) -> ModelCall:
    return ModelCall(attempt=1, provider="p", model=model, started_ms=0.0, **fields)


def _finished(*calls: ModelCall, text: str = WORDS, **fields: Any) -> InferenceFinished:
    choice = {"index": 0, "message": {"content": text}, "finish_reason": "stop"}
    return InferenceFinished(
        **{
            "request_id": "r1",
            "outcome": "completed",
            "tenant": "acme",
            "calls": calls,
            "finish_reason": "stop",
            "response": json.dumps({"choices": [choice] * fields.pop("choices", 1)}).encode(),
            **fields,
        }
    )


def _asked(model: str = "easy", **body: Any) -> InferenceRequested:
    content = {"messages": [{"role": "user", "content": "Why are there tides?"}], **body}
    return InferenceRequested(
        request_id="r1",
        operation="chat",
        model=model,
        body=json.dumps(content).encode(),
        tenant="acme",
    )


def _said(score: float, source: str = "user", request_id: str = "r1") -> FeedbackGiven:
    return FeedbackGiven(
        feedback_id=f"{request_id}-{source}",
        request_id=request_id,
        tenant="acme",
        source=source,
        score=score,
        at=1,
    )


def test_opinions_are_joined_to_what_the_answer_shows() -> None:
    """Several are averaged; what the cascade itself thought of the answer does not count."""
    given = [_said(1.0), _said(0.0, "judge"), _said(0.1, "escalation")]
    finished = {"r1": _finished(_call(confidence=0.8))}
    (answer,) = answers_from_feedback(given, finished, {"r1": _asked()}, "easy")
    assert (answer.model, answer.task, answer.score) == ("p/small", "text", 0.5)
    assert answer.prompt == "Why are there tides?"
    assert "length" in answer.signals


@pytest.mark.parametrize(
    ("finished", "asked"),
    [
        (_finished(_call()), _asked(model="other")),
        (_finished(_call(), tenant="evil"), _asked()),
        (_finished(), _asked()),
        (_finished(_call(confidence=0.0)), _asked()),
        (_finished(_call(), finish_reason="length"), _asked()),
        (_finished(_call(), choices=2), _asked()),
        (_finished(_call(), text=" "), _asked()),
        (_finished(_call(), text="{}"), _asked(response_format={"type": "json_object"})),
        (_finished(_call(), response=b"junk"), _asked()),
        (_finished(_call(), response=b"7"), _asked()),
    ],
)
def test_what_no_calibration_is_asked_about_is_left_out(
    finished: InferenceFinished, asked: InferenceRequested
) -> None:
    """Another alias, another tenant's, hits, hard faults, structure, and what is no answer."""
    assert answers_from_feedback([_said(1.0)], {"r1": finished}, {"r1": asked}, "easy") == []
    assert answers_from_feedback([_said(1.0)], {"r1": finished}, {}, "easy") == []


@pytest.mark.parametrize(
    ("calls", "model"),
    [
        ([], None),
        ([_call("small", confidence=0.4), _call("large")], "large"),
        ([_call("small", confidence=0.4), _call("large", error_code="x")], "small"),
        (
            [
                _call("small", confidence=0.3),
                _call("middle", confidence=0.5),
                _call("large", error_code="x"),
            ],
            "middle",
        ),
        ([_call("small", error_code="x")], None),
    ],
)
def test_the_answer_is_that_of_the_last_call_or_the_best_that_was_kept(
    calls: Sequence[ModelCall], model: str | None
) -> None:
    """Opinions are about the answer that was handed on."""
    call = call_that_answered(_finished(*calls))
    assert (call.model if call is not None else None) == model


def _fit(folder: Path, count: int, *, good: float, base: Path | None = None) -> str:
    """Run the command on so many answers, of which such a share is good; what it prints."""
    rng = random.Random(2)
    ids = [f"r{index}" for index in range(count)]
    scores = [float(rng.random() < good) for _ in ids]
    topics: dict[str, Sequence[tuple[str, Event]]] = {
        "feedback": [
            ("acme", _said(score, request_id=it)) for it, score in zip(ids, scores, strict=True)
        ],
        "inference-results": [(it, _finished(_call(), request_id=it)) for it in ids],
        "inference-requests-p0": [
            (
                it,
                msgspec.structs.replace(
                    _asked(messages=[{"role": "user", "content": f"Why {it}?"}]), request_id=it
                ),
            )
            for it in ids
        ],
        "inference-requests-p1": [],
        "inference-requests-p2": [],
    }
    printed = StringIO()
    console = Console(file=printed, width=200)
    invocation = Invocation(environ={}, folder=folder, console=console, errors=console)

    def read() -> Any:
        return lambda topic: MemoryTopic(topics[topic])

    try:
        fit_cascade(invocation, "easy", read, out=Path("c.json"), base=base)
    except typer.Exit as end:
        printed.write(f"exit {end.exit_code}")
    return printed.getvalue()


def test_the_command_writes_a_calibration_that_can_be_configured(tmp_path: Path) -> None:
    """For the target whose answers are worse than the shipped one says, and only for it."""
    printed = _fit(tmp_path, 120, good=0.3)
    assert "p/small: 120 judged answers" in printed
    assert "The new one is better." in printed
    written, shipped = read_calibration(tmp_path / "c.json"), read_calibration(SHIPPED)
    own = written.fit_for("p/small", "text", "whole")
    assert own is not None
    assert own.probability({}) < 0.5
    assert written.fit_for("p/large", "text", "whole") == shipped.fit_for(
        "p/large", "text", "whole"
    )


def test_too_few_judged_answers_change_nothing(tmp_path: Path) -> None:
    """It says how many there are of which target, and how many are needed."""
    with pytest.raises(CommandError, match=f"20 of p/small; at least {LEAST_ANSWERS}"):
        _fit(tmp_path, 20, good=0.3)
    with pytest.raises(CommandError, match="none"):
        _fit(tmp_path, 0, good=0.3)
    assert not (tmp_path / "c.json").exists()


def test_a_calibration_that_knows_the_traffic_stays(tmp_path: Path) -> None:
    """No file, exit code 1, and both figures."""
    _fit(tmp_path, 120, good=0.3)
    (tmp_path / "c.json").rename(tmp_path / "old.json")
    printed = _fit(tmp_path, 120, good=0.3, base=Path("old.json"))
    assert "The old one stays.\nexit 1" in printed
    assert "Calibration error" in printed
    assert not (tmp_path / "c.json").exists()
