"""Labels of own traffic: how good the weak and the strong model's answers to prompts were."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from statistics import fmean

import msgspec

from services.cli.errors import CommandError
from services.cli.route.training import Example
from services.shared.domain.complexity.prompt import prompt_text, shortened
from services.shared.domain.events import FeedbackGiven, InferenceFinished, InferenceRequested

ESCALATION = "escalation"


class Label(msgspec.Struct, frozen=True):
    """What is known of one prompt.

    Attributes:
        text: The prompt, as it is scored.
        weak: How good the weak model's answer was, 0..1; None = nobody knows.
        strong: The same of the strong model.
    """

    text: str
    weak: float | None = None
    strong: float | None = None


class Pair(msgspec.Struct, frozen=True):
    """The two targets that labels are about, as ``provider/model``."""

    weak: str
    strong: str


class _Line(msgspec.Struct, frozen=True):
    prompt: str
    weak: float | None = None
    strong: float | None = None
    target: str = ""
    score: float | None = None


def labels_from_lines(lines: Iterable[bytes], pair: Pair) -> list[Label]:
    """Labels from a JSONL file.

    Args:
        lines: ``{"prompt", "weak", "strong"}`` or ``{"prompt", "target", "score"}``, scores 0..1.
        pair: The targets; lines about others are left out.

    Raises:
        CommandError: A line is of another shape; names its number.
    """
    found = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = msgspec.json.decode(line, type=_Line)
        except msgspec.DecodeError as error:
            raise CommandError(f"Line {number} of the labels is no label: {error}") from error
        text, weak, strong = shortened(row.prompt), row.weak, row.strong
        if row.target == pair.weak:
            weak = row.score
        elif row.target == pair.strong:
            strong = row.score
        if any(score is not None and not 0 <= score <= 1 for score in (weak, strong)):
            raise CommandError(f"Line {number} of the labels has a score that is not in 0..1.")
        if weak is not None or strong is not None:
            found.append(Label(text, weak, strong))
    return found


def labels_from_feedback(
    given: Iterable[FeedbackGiven],
    finished: Mapping[str, InferenceFinished],
    requests: Mapping[str, InferenceRequested],
    pair: Pair,
) -> list[Label]:
    """Labels from what users, judges and escalations said.

    An escalation is about the first call of a request, all else about the one that answered.
    Feedback of a tenant about another's request counts for nothing.
    """
    scores: dict[tuple[str, str], list[float]] = {}
    for feedback in given:
        result = finished.get(feedback.request_id)
        if result is None or result.tenant != feedback.tenant:
            continue
        target = _target_of(result, feedback.source)
        if target in {pair.weak, pair.strong} and feedback.request_id in requests:
            scores.setdefault((feedback.request_id, target), []).append(feedback.score)
    labels = []
    for request_id in dict.fromkeys(request_id for request_id, _ in scores):
        text = prompt_text(requests[request_id])
        weak, strong = scores.get((request_id, pair.weak)), scores.get((request_id, pair.strong))
        labels.append(Label(text, fmean(weak) if weak else None, fmean(strong) if strong else None))
    return [label for label in labels if label.text]


def examples_of(labels: Sequence[Label]) -> list[Example]:
    """Labels as examples to fit on; what only one model was asked is its own source."""
    usual_weak, usual_strong = usual(labels)
    return [
        Example(
            text=label.text,
            need=(usual_strong if label.strong is None else label.strong)
            - (usual_weak if label.weak is None else label.weak),
            source=_source(label),
        )
        for label in labels
    ]


def judged(labels: Sequence[Label]) -> Iterator[tuple[str, float, float]]:
    """Prompts with the quality of both answers, as far as a router can be judged by them.

    Where only the weak model answered, the strong one's usual quality stands in. The other way
    round says nothing: the prompt may have been easy.
    """
    _, usual_strong = usual(labels)
    for label in labels:
        if label.weak is not None:
            strong = usual_strong if label.strong is None else label.strong
            yield label.text, label.weak, strong


def usual(labels: Sequence[Label]) -> tuple[float, float]:
    """The mean quality of each model's answers; 0 and 1 where there are none."""
    weak = [label.weak for label in labels if label.weak is not None]
    strong = [label.strong for label in labels if label.strong is not None]
    return fmean(weak) if weak else 0.0, fmean(strong) if strong else 1.0


def _source(label: Label) -> str:
    if label.weak is None:
        return "strong"
    return "weak" if label.strong is None else "both"


def _target_of(result: InferenceFinished, source: str) -> str:
    calls = result.calls[:1] if source == ESCALATION else result.calls[-1:]
    return "".join(f"{call.provider}/{call.model}" for call in calls)
