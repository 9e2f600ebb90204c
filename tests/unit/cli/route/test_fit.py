"""``millrace route fit``: labels in, better weights out, or none."""

import json
from collections.abc import Sequence
from io import StringIO
from pathlib import Path

import msgspec
import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from services.cli.errors import CommandError
from services.cli.invocation import Invocation
from services.cli.route.apgr import judge
from services.cli.route.commands import app
from services.cli.route.feedback import read_labels
from services.cli.route.labels import (
    Label,
    Pair,
    examples_of,
    judged,
    labels_from_feedback,
    labels_from_lines,
)
from services.cli.route.refit import refit
from services.cli.route.ridge import solve, sparse_rows
from services.cli.route.training import Example, Recipe, fit, standardised
from services.cli.route.weights_file import weights_file
from services.shared.adapters.complexity_weights import read_classifier
from services.shared.domain.complexity.classifier import FORMAT, Weights
from services.shared.domain.events import (
    FeedbackGiven,
    InferenceFinished,
    InferenceRequested,
    ModelCall,
)
from tests.unit.cli.route.memory_topic import MemoryTopic

BASE = Weights(format=FORMAT, unit=1.0, mean=2.0, deviation=2.0, reference=(0.5,), grams={})
PAIR = Pair("p/small", "p/large")


def _labels(count: int, *, told_by: str = "zebra") -> list[Label]:
    """Prompts that the weak model fails at if, and only if, they hold a word that no cue knows."""
    words = ["maple", "copper", "lantern", "meadow", "harbour"]
    return [
        Label(
            f"tell {words[index % 5]} {index} {told_by if index % 3 == 0 else 'otter'} away",
            weak=float(index % 3 != 0),
            strong=1.0,
        )
        for index in range(count)
    ]


def _finished(request_id: str, *models: str, tenant: str = "acme") -> InferenceFinished:
    calls = tuple(
        ModelCall(attempt=number, provider="p", model=model, started_ms=0.0)
        for number, model in enumerate(models, 1)
    )
    return InferenceFinished(request_id=request_id, outcome="completed", tenant=tenant, calls=calls)


def _asked(request_id: str, text: str) -> InferenceRequested:
    body = json.dumps({"messages": [{"role": "user", "content": text}]}).encode()
    return InferenceRequested(request_id=request_id, operation="chat", body=body, tenant="acme")


def _said(request_id: str, score: float, source: str = "user") -> FeedbackGiven:
    return FeedbackGiven(
        feedback_id=f"{request_id}-{source}",
        request_id=request_id,
        tenant="acme",
        source=source,
        score=score,
        at=1,
    )


def test_own_labels_make_better_weights() -> None:
    """Better on labels that the fit never saw; a label is a rank, so it needs no threshold."""
    result = refit(BASE, _labels(300))
    assert result.is_better
    assert result.new is not None
    assert result.old is not None
    assert result.new > result.old + 0.1
    assert result.weights.grams["zebra"] > 0
    assert len(result.weights.reference) > 2


def test_labels_that_say_nothing_change_nothing() -> None:
    """Where the strong model is no better there is nothing to learn."""
    result = refit(BASE, [msgspec.structs.replace(each, weak=1.0) for each in _labels(120)])
    assert not result.is_better
    assert result.old is None


def test_equal_labels_give_an_equal_file() -> None:
    """To the byte."""
    first, second = (weights_file(refit(BASE, _labels(150)).weights) for _ in range(2))
    assert first == second


def test_weights_of_examples_know_their_words() -> None:
    """The script that makes the shipped weights stands on this."""
    examples = [Example(label.text, 1 - (label.weak or 0.0), "one") for label in _labels(200)]
    weights = fit(examples, Recipe(), origin="test")
    assert weights.grams["zebra"] > 0 > weights.grams["otter"]
    assert weights.deviation > 0


def test_needs_are_compared_within_their_source() -> None:
    """A source in which all is harder is no harder for it, and size counts as its root."""
    examples = [Example("a", need, "x") for need in (0.0, 1.0)]
    examples += [Example("b", need, "y") for need in (0.9, 1.0) * 4]
    targets, importance = standardised([*examples, Example("c", 0.5, "z")])
    assert targets[:4] == pytest.approx([-1, 1, -1, 1])
    assert targets[-1] == 0
    assert importance[2:10].sum() == pytest.approx(importance[:2].sum() * 2)


def test_the_solution_is_that_of_the_normal_equations() -> None:
    """Conjugate gradients find what a direct solver finds."""
    matrix = sparse_rows([label.text for label in _labels(40)], least_documents=2, most_names=50)
    dense = np.zeros((matrix.count, len(matrix.names)))
    dense[matrix.rows, matrix.columns] = matrix.values
    draw = np.random.default_rng(1)
    targets, importance = draw.normal(size=matrix.count), draw.uniform(0.5, 2, matrix.count)
    found = solve(matrix, targets, importance, penalty=3.0)
    normal = dense.T @ (dense * importance[:, None]) + 3.0 * np.eye(dense.shape[1])
    assert found == pytest.approx(
        np.linalg.solve(normal, dense.T @ (importance * targets)), abs=1e-3
    )


def test_a_random_router_recovers_half_of_the_gap_and_a_perfect_one_more() -> None:
    """The scale that both figures are on."""
    draw = np.random.default_rng(2)
    weak = (draw.random(4_000) < 0.6).astype(float)
    strong = np.ones(4_000)
    chance = judge(draw.random(4_000), weak, strong)
    perfect = judge(1 - weak, weak, strong)
    assert chance is not None
    assert perfect is not None
    assert chance.apgr == pytest.approx(0.5, abs=0.04)
    assert chance.cpt50 == pytest.approx(0.5, abs=0.05)
    assert perfect.apgr > 0.75
    assert perfect.cpt80 == pytest.approx(0.8 * 0.4, abs=0.02)
    constant = judge(np.zeros(4_000), weak, strong)
    assert constant is not None
    assert constant.apgr == pytest.approx(0.5)


def test_there_is_no_figure_without_a_gap() -> None:
    """Nothing to gain, nothing to judge."""
    assert judge([1.0, 2.0], [1.0, 1.0], [1.0, 0.5]) is None
    assert judge([], [], []) is None


def test_both_kinds_of_lines_are_read() -> None:
    """Lines about other targets and empty ones are left out."""
    lines = [
        b'{"prompt": "a", "weak": 0, "strong": 1}\n',
        b'{"prompt": "b", "target": "p/small", "score": 0.5}\n',
        b'{"prompt": "c", "target": "p/large", "score": 1}\n',
        b'{"prompt": "d", "target": "p/other", "score": 1}\n',
        b"\n",
    ]
    assert labels_from_lines(lines, PAIR) == [
        Label("a", 0.0, 1.0),
        Label("b", 0.5, None),
        Label("c", None, 1.0),
    ]


@pytest.mark.parametrize(
    "line", [b"{", b'{"weak": 1}', b'{"prompt": "a", "weak": 2}', b'{"prompt": "a", "weak": "x"}']
)
def test_a_line_that_is_no_label_is_named_by_its_number(line: bytes) -> None:
    """A file of the wrong shape does not pass as one of few labels; no text is shown."""
    with pytest.raises(CommandError, match="Line 2 of the labels"):
        labels_from_lines([b'{"prompt": "p", "weak": 1}', line], PAIR)


def test_feedback_is_about_the_call_that_answered() -> None:
    """An escalation is about the first one; the same request may so be labelled for both."""
    given = [_said("r1", 0.0, "escalation"), _said("r1", 1.0), _said("r2", 1.0)]
    finished = {"r1": _finished("r1", "small", "large"), "r2": _finished("r2", "small")}
    requests = {"r1": _asked("r1", "hard"), "r2": _asked("r2", "easy")}
    assert labels_from_feedback(given, finished, requests, PAIR) == [
        Label("hard", 0.0, 1.0),
        Label("easy", 1.0, None),
    ]


def test_feedback_without_its_request_or_of_another_tenant_is_no_label() -> None:
    """Nobody labels another's requests; what is gone cannot be fitted to."""
    given = [_said("r1", 0.0), _said("r2", 0.0), _said("r3", 0.0), _said("r4", 1.0)]
    finished = {
        "r1": _finished("r1", "small", tenant="evil"),
        "r2": _finished("r2", "small"),
        "r4": _finished("r4", "other"),
    }
    requests = {name: _asked(name, "text") for name in ("r1", "r3", "r4")}
    assert labels_from_feedback(given, finished, requests, PAIR) == []


def test_what_one_model_alone_was_asked_is_compared_with_the_others_usual_quality() -> None:
    """And it is judged only where the weak one's answer is known."""
    labels = [Label("a", 0.0, None), Label("b", None, 0.5), Label("c", 1.0, 1.0)]
    assert [(each.need, each.source) for each in examples_of(labels)] == [
        (0.75, "weak"),
        (0.0, "strong"),
        (0.0, "both"),
    ]
    assert list(judged(labels)) == [("a", 0.0, 0.75), ("c", 1.0, 1.0)]


def test_labels_are_joined_from_three_kinds_of_topics() -> None:
    """The first result in log order counts, and a record that is none of ours is passed over."""
    topics = {
        "feedback": MemoryTopic([("acme", _said("r1", 0.0)), ("acme", b"junk")]),
        "inference-results": MemoryTopic(
            [("r1", _finished("r1", "small")), ("r1", _finished("r1", "large")), ("r9", b"junk")]
        ),
        "inference-requests-p0": MemoryTopic([]),
        "inference-requests-p1": MemoryTopic([("r1", _asked("r1", "why"))]),
        "inference-requests-p2": MemoryTopic([]),
    }
    assert read_labels(lambda topic: topics[topic], PAIR) == [Label("why", 0.0, None)]
    assert all(topic.is_closed for topic in topics.values())


def _run(folder: Path, *arguments: str) -> tuple[int, str]:
    printed = StringIO()
    console = Console(file=printed, width=200)
    invocation = Invocation(environ={}, folder=folder, console=console, errors=console)
    result = CliRunner().invoke(app, ["fit", *arguments], obj=invocation)
    if isinstance(result.exception, CommandError):
        return 1, str(result.exception)
    return result.exit_code, printed.getvalue()


def _write(folder: Path, labels: Sequence[Label]) -> None:
    lines = [
        json.dumps({"prompt": each.text, "weak": each.weak, "strong": each.strong})
        for each in labels
    ]
    (folder / "labels.jsonl").write_text("\n".join(lines))
    (folder / "base.json").write_bytes(weights_file(BASE))


def test_the_command_writes_weights_that_can_be_read(tmp_path: Path) -> None:
    """And says both figures."""
    _write(tmp_path, _labels(200))
    code, printed = _run(
        tmp_path, "--labels", "labels.jsonl", "--base", "base.json", "--out", "w.json"
    )
    assert code == 0, printed
    assert "kept out of the fit: old 0." in printed
    assert read_classifier(tmp_path / "w.json").weights.grams["zebra"] > 0


def test_the_command_keeps_the_old_weights_where_nothing_is_gained(tmp_path: Path) -> None:
    """No file, exit code 1, and the reason."""
    _write(tmp_path, [msgspec.structs.replace(each, weak=1.0) for each in _labels(120)])
    code, printed = _run(
        tmp_path, "--labels", "labels.jsonl", "--base", "base.json", "--out", "w.json"
    )
    assert (code, "The old weights stay." in printed) == (1, True)
    assert not (tmp_path / "w.json").exists()


def test_too_few_labels_are_refused(tmp_path: Path) -> None:
    """With the number, and what would be enough; likewise a file that is not there."""
    _write(tmp_path, _labels(20))
    assert "20 labels" in _run(tmp_path, "--labels", "labels.jsonl", "--out", "w.json")[1]
    assert "cannot be read" in _run(tmp_path, "--labels", "none", "--out", "w.json")[1]
