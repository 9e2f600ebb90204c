"""Judge the router's classifier on recorded outcomes of real models, with no model call.

    python -m tests.evaluation.router DATA.jsonl [--scores FILE]

A line of DATA is ``{"dataset", "task", "prompt", "weak_correct", "strong_correct"}``. Every figure
is of prompts that the weights were not fitted on:

* *seen kinds*: of each fifth, by weights from the other four;
* *unseen kinds*: of each group of tasks, by weights from all others. ``pooled`` ranks a whole data
  set by such scores, ``inside`` each group by itself, where only the difficulty within a task is
  left to see;
* *unseen data set*: of each data set, by weights from the others: other models, too.

``--scores`` writes the scores of the first kind, a line a row of DATA, for other judges.
"""

import argparse
import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter_ns

import msgspec
import numpy as np

from services.cli.route.apgr import judge
from services.cli.route.training import Example, Recipe, cue_scores, fit
from services.shared.adapters.complexity_weights import shipped_classifier
from services.shared.domain.complexity.classifier import Classifier
from services.shared.domain.complexity.prompt import shortened

FOLDS = 5
_STEM = (
    "abstract_algebra astronomy biology chemistry computer physics electrical mathematics statistics"
).split()
_HUMANITIES = "logic history law jurisprudence fallacies moral religions philosophy".split()
_SOCIAL = (
    "geography government psychology public_relations security_studies sociology foreign".split()
)
_KNOWLEDGE = {"arc_challenge", "openbook_qa", "commonsense_qa", "trivia_qa"}
_WRITING = {"commongen", "agentverse-logicgrid"}


class Row(msgspec.Struct, frozen=True):
    """A prompt and how good the answers of two models to it were."""

    dataset: str
    task: str
    prompt: str
    weak_correct: float
    strong_correct: float

    @property
    def group(self) -> str:
        """The group of like tasks that it belongs to."""
        if "gsm" in self.task:
            return "word problems"
        if self.dataset == "mix":
            return self._group_of_mix()
        for group, words in (("stem", _STEM), ("humanities", _HUMANITIES), ("social", _SOCIAL)):
            if any(word in self.task for word in words):
                return group
        return "professions"

    def _group_of_mix(self) -> str:
        if self.task in _KNOWLEDGE:
            return "short questions"
        return "writing and puzzles" if self.task in _WRITING else f"mix {self.task}"


Scorer = Callable[[Sequence[Row], Sequence[Row]], Sequence[float]]
"""Scores of the second rows, by what was learned from the first."""


def by_classifier(train: Sequence[Row], test: Sequence[Row]) -> Sequence[float]:
    """By the classifier, fitted anew."""
    examples = [
        Example(shortened(row.prompt), row.strong_correct - row.weak_correct, row.dataset)
        for row in train
    ]
    classifier = Classifier(fit(examples, Recipe(), origin="evaluation"))
    return [classifier.score(shortened(row.prompt)).value for row in test]


def by_cues(_train: Sequence[Row], test: Sequence[Row]) -> Sequence[float]:
    """By the cues alone; nothing is fitted."""
    return list(map(float, cue_scores([shortened(row.prompt) for row in test])))


def by_length(_train: Sequence[Row], test: Sequence[Row]) -> Sequence[float]:
    """By the length of the prompt."""
    return [float(len(row.prompt)) for row in test]


def at_random(_train: Sequence[Row], test: Sequence[Row]) -> Sequence[float]:
    """By nothing."""
    draw = random.Random(len(test))
    return [draw.random() for _ in test]


SCORERS: dict[str, Scorer] = {
    "random": at_random,
    "length": by_length,
    "cues alone": by_cues,
    "classifier": by_classifier,
}


def held_out(rows: Sequence[Row], parts: Sequence[str], scorer: Scorer) -> list[float]:
    """The score of each row, by what was learned from the rows of all other parts."""
    scores = [0.0] * len(rows)
    for part in sorted(set(parts)):
        test = [index for index, own in enumerate(parts) if own == part]
        train = [row for row, own in zip(rows, parts, strict=True) if own != part]
        for index, score in zip(test, scorer(train, [rows[i] for i in test]), strict=True):
            scores[index] = score
    return scores


def apgr_by(
    rows: Sequence[Row], scores: Sequence[float], key: Callable[[Row], str]
) -> dict[str, float]:
    """APGR of the rows of each key that there is a gap in."""
    found = {}
    for name in sorted({key(row) for row in rows}):
        own = [(score, row) for score, row in zip(scores, rows, strict=True) if key(row) == name]
        judged = judge(
            [score for score, _ in own],
            [row.weak_correct for _, row in own],
            [row.strong_correct for _, row in own],
        )
        if judged is not None:
            found[name] = judged.apgr
    return found


def shown(figures: dict[str, float]) -> str:
    """Mean, minimum and each figure."""
    values = list(figures.values())
    each = "  ".join(f"{name} {value:.3f}" for name, value in figures.items())
    return f"mean {np.mean(values):.3f}  min {min(values):.3f} | {each}"


def latencies(rows: Sequence[Row]) -> str:
    """Time that the shipped classifier takes, in ms."""
    classifier = shipped_classifier()
    long = "\n\n".join(row.prompt for row in rows)
    cases = {
        "prompts": [row.prompt for row in rows if len(row.prompt) <= 4_000],
        "4 kB": [long[start : start + 4_000] for start in range(0, 400_000, 4_000)],
        "600 kB": [long[start : start + 600_000] for start in range(0, 50_000, 1_000)],
    }
    found = []
    for name, texts in cases.items():
        times = []
        for text in texts:
            started = perf_counter_ns()
            classifier.score(shortened(text))
            times.append((perf_counter_ns() - started) / 1e6)
        p50, p99 = np.quantile(times, (0.5, 0.99))
        found.append(f"{name}: p50 {p50:.3f} p99 {p99:.3f}")
    return " | ".join(found)


def main() -> None:
    """Run the program."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--scores", type=Path)
    arguments = parser.parse_args()
    with arguments.data.open(encoding="utf-8") as lines:
        rows = [msgspec.convert(json.loads(line), Row) for line in lines]
    print("latency, ms:", latencies(rows), flush=True)
    order = list(range(len(rows)))
    random.Random(7).shuffle(order)
    fold = {index: str(place % FOLDS) for place, index in enumerate(order)}
    for name, scorer in SCORERS.items():
        seen = held_out(rows, [fold[index] for index in range(len(rows))], scorer)
        print(f"{name:12} seen kinds      ", shown(apgr_by(rows, seen, _dataset)), flush=True)
        unseen = held_out(rows, [row.group for row in rows], scorer)
        print(f"{name:12} unseen, pooled  ", shown(apgr_by(rows, unseen, _dataset)))
        print(f"{name:12} unseen, inside  ", shown(apgr_by(rows, unseen, _group)), flush=True)
        other = held_out(rows, [row.dataset for row in rows], scorer)
        print(f"{name:12} unseen data set ", shown(apgr_by(rows, other, _dataset)), flush=True)
        if arguments.scores and scorer is by_classifier:
            arguments.scores.write_text("".join(f"{score!r}\n" for score in seen))


def _dataset(row: Row) -> str:
    return row.dataset


def _group(row: Row) -> str:
    return row.group


if __name__ == "__main__":
    main()
