"""Fits the shipped calibration of the cascade, and says how good it is.

    python -m scripts.fit_cascade                       # writes the shipped file
    python -m scripts.fit_cascade --recorded R          # the same, with kinds of tasks fitted to R
    python -m scripts.fit_cascade --check               # only says what it would be
    python -m scripts.fit_cascade --answers F --to G    # fits recorded answers alone, writes G

The general fits are of answers made up by ``scripts.made_up_answers``: real arithmetic, with
faults planted at random. They say how the faults of these answers show, not how those of any real
model do; refit them on answers of your own as soon as there are some hundreds. The shipped fits of
``math`` are of recorded answers: those of Mixtral-8x7B to the test questions of GSM8K (MIT),
published as ``gsm8k_responses.csv`` by lm-sys/RouteLLM (Apache-2.0). That file is R, and no part of
this project; without R the fits of tasks stay as they are. No shipped fit knows how long answers
are and how they are written: that tells of whoever wrote them, and nothing of another model.

Recorded answers are JSON objects, one a line: ``prompt``, ``weak_answer``, ``weak_correct``,
``strong_correct`` (``tests/evaluation/cascade.py`` reads the same); or CSV with a head line:
prompt, whether the weak and the strong model were right, the weak one's answer.
"""

import argparse
import csv
import json
import random
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from scripts.made_up_answers import Row, made_up
from services.cli.route.recalibrate import calibration_error
from services.model_caller.cascade.faults import fault_of_text, hard_fault
from services.shared.adapters.cascade_calibration import SHIPPED, read_calibration
from services.shared.domain.cascade.asked import Asked
from services.shared.domain.cascade.calibration import ANY, Fit, calibration_file
from services.shared.domain.cascade.signals import KNOWN, Given, signals_of, task_of

ROWS = 16_000
PREFIX_CHARS = 48 * 4
_RIDGE = 1.0
_STEPS = 60
_MIN_ROWS = 300
_OF_STYLE = {"length", "length_to_prompt", "has_conclusion", "right_equations"}
_OF_QUESTIONS = {"prompt_length", "unused_numbers", "negative_result", "fractional_result"}
"""What says of made-up questions only how they were made up."""

_FOLDS = 5
_MAX_KNOTS = 12
_MIN_ROWS_FOR_KNOTS = 3_000
"""Below that the steps of an isotonic regression follow chance (Niculescu-Mizil & Caruana 2005)."""


def rows_of(path: Path) -> list[Row]:
    """Recorded answers, in an order that does not depend on that of the file."""
    rows = _of_csv(path) if path.suffix == ".csv" else _of_lines(path)
    rows.sort(key=lambda row: row.prompt)
    random.Random(1).shuffle(rows)  # noqa: S311  # no secret: the same order every time
    return rows


def _of_lines(path: Path) -> list[Row]:
    return [Row(**_known(json.loads(line))) for line in path.read_bytes().splitlines() if line]


def _of_csv(path: Path) -> list[Row]:
    with path.open(newline="", encoding="utf-8") as file:
        return [
            Row(
                prompt=prompt,
                weak_answer=answer,
                weak_correct=float(weak == "True"),
                strong_correct=float(strong == "True"),
            )
            for prompt, weak, strong, answer, *_ in list(csv.reader(file))[1:]
        ]


def _known(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: fields[name] for name in Row.__struct_fields__ if name in fields}


def read(row: Row, *, is_whole: bool) -> dict[str, float] | None:
    """The signals of an answer; None = a hard fault settles it."""
    asked = Asked(prompt=row.prompt, max_tokens=row.max_tokens)
    text = row.weak_answer if is_whole else row.weak_answer[:PREFIX_CHARS]
    given = Given(text=text, finish_reason=row.finish_reason, logprobs=row.logprobs)
    fault = hard_fault(asked, given) if is_whole else fault_of_text(asked, text)
    if fault is not None:
        return None
    return signals_of(asked, given, is_whole=is_whole)


def fit(rows: Sequence[Row], names: Sequence[str], *, part: str, task: str = "*") -> Fit:
    """A logistic regression of the signals; of many rows, an isotonic one of its scores besides.

    The isotonic one is fitted to a third of the rows, which the logistic one has not seen.
    """
    read_rows = [(read(row, is_whole=part == "whole"), row.weak_correct) for row in rows]
    soft = [(signals, right) for signals, right in read_rows if signals is not None]
    x = np.array([[signals.get(name, 0.0) for name in names] for signals, _ in soft])
    y = np.array([right for _, right in soft], dtype=float)
    has_knots = len(soft) >= _MIN_ROWS_FOR_KNOTS
    middle = len(soft) * 2 // 3 if has_knots else len(soft)
    intercept, weights = _logistic(x[:middle], y[:middle])
    knots = _isotonic(intercept + x[middle:] @ weights, y[middle:]) if has_knots else ()
    shown = {
        name: round(float(weight), 4)
        for name, weight in zip(names, weights, strict=True)
        if abs(weight) > 1e-4
    }
    return Fit(
        task=task,
        part="whole" if part == "whole" else "prefix",
        intercept=round(float(intercept), 4),
        weights=shown,
        knots=knots,
        rows=len(soft),
    )


def _logistic(x: Any, y: Any) -> tuple[float, Any]:
    """Ridge logistic regression by Newton's method."""
    design = np.hstack([np.ones((len(x), 1)), x])
    penalty = np.diag([0.0, *[_RIDGE] * x.shape[1]])
    beta = np.zeros(design.shape[1])
    for _ in range(_STEPS):
        p = 1 / (1 + np.exp(-np.clip(design @ beta, -30, 30)))
        gradient = design.T @ (p - y) + penalty @ beta
        curvature = (design * (p * (1 - p))[:, None]).T @ design + penalty
        step = np.linalg.solve(curvature + 1e-9 * np.eye(len(beta)), gradient)
        beta = beta - step
        if float(np.abs(step).max()) < 1e-8:
            break
    return float(beta[0]), beta[1:]


def _isotonic(logits: Any, y: Any) -> tuple[tuple[float, float], ...]:
    """Pool adjacent violators over bins of equally many answers; one knot a pool, at its middle."""
    order = np.argsort(logits, kind="stable")
    pools = [
        [float(logits[part].mean()), float(y[part].sum()) + 0.5, float(len(part)) + 1.0]
        for part in np.array_split(order, min(_MAX_KNOTS, max(2, len(order) // 40)))
    ]
    merged: list[list[float]] = []
    for pool in pools:
        merged.append(pool)
        while len(merged) > 1 and merged[-2][1] / merged[-2][2] >= merged[-1][1] / merged[-1][2]:
            at, right, count = merged.pop()
            before = merged[-1]
            before[0] = (before[0] * before[2] + at * count) / (before[2] + count)
            before[1], before[2] = before[1] + right, before[2] + count
    return tuple((round(at, 4), round(right / count, 4)) for at, right, count in merged)


def confidences(fits: Iterable[Fit], rows: Sequence[Row], *, part: str = "whole") -> list[float]:
    """The confidence of each answer, 0 where a hard fault settles it."""
    by_task = {fit.task: fit for fit in fits if fit.part == part}
    found = []
    for row in rows:
        signals = read(row, is_whole=part == "whole")
        chosen = by_task.get(task_of(row.prompt), by_task["*"])
        found.append(0.0 if signals is None else chosen.probability(signals))
    return found


def general_fits(rows: Sequence[Row], *, is_recorded: bool) -> list[Fit]:
    """A fit of whole answers, and one of beginnings, to every kind of task."""
    names = sorted(KNOWN if is_recorded else KNOWN - _OF_STYLE - _OF_QUESTIONS)
    return [fit(rows, names, part="whole"), fit(rows, names, part="prefix")]


def task_fits(rows: Sequence[Row], *, of_any_model: bool) -> list[Fit]:
    """The same of each kind of task with some hundred rows; for any model, without its style."""
    names = sorted(KNOWN - _OF_STYLE if of_any_model else KNOWN)
    by_task: dict[str, list[Row]] = {}
    for row in rows:
        by_task.setdefault(task_of(row.prompt), []).append(row)
    return [
        fit(own, names, part=part, task=task)
        for task, own in sorted(by_task.items())
        if len(own) >= _MIN_ROWS
        for part in ("whole", "prefix")
    ]


def fits_of(rows: Sequence[Row]) -> list[Fit]:
    """All fits of recorded answers of one model."""
    return general_fits(rows, is_recorded=True) + task_fits(rows, of_any_model=False)


def with_errors(fits: Sequence[Fit], held_out: Sequence[Row]) -> list[Fit]:
    """The fits, with their calibration error on rows that they have not seen."""
    found = []
    for one in fits:
        own = [row for row in held_out if one.task in {"*", task_of(row.prompt)}]
        alone = msgspec.structs.replace(one, task="*")
        error = calibration_error(
            confidences([alone], own, part=one.part), [row.weak_correct for row in own]
        )
        found.append(msgspec.structs.replace(one, ece=round(error, 4)))
    return found


def shipped_fits(recorded: Path | None) -> list[Fit]:
    """The general fits of made-up answers, and those of tasks: to recorded ones, or as they are."""
    rows = made_up(ROWS, seed=1)
    middle = len(rows) * 3 // 4
    general = with_errors(general_fits(rows[:middle], is_recorded=False), rows[middle:])
    if recorded is None:
        return general + [it for it in read_calibration(SHIPPED).fits if it.task != ANY]
    return general + _with_folded_errors(rows_of(recorded))


def _with_folded_errors(rows: Sequence[Row]) -> list[Fit]:
    """Fits of tasks to all rows, each with its error by fits to four fifths of them."""
    found = []
    for one in task_fits(rows, of_any_model=True):
        own = [row for row in rows if task_of(row.prompt) == one.task]
        confidence = folded(
            own,
            lambda part: [
                msgspec.structs.replace(it, task=ANY) for it in task_fits(part, of_any_model=True)
            ],
            part=one.part,
        )
        error = calibration_error(confidence, [row.weak_correct for row in own])
        found.append(msgspec.structs.replace(one, ece=round(error, 4)))
    return found


def folded(
    rows: Sequence[Row], fitted: Callable[[Sequence[Row]], Sequence[Fit]], *, part: str = "whole"
) -> list[float]:
    """The confidence of each answer by a fit to the other four fifths of the answers."""
    found = [0.0] * len(rows)
    for fold in range(_FOLDS):
        fits = fitted([row for i, row in enumerate(rows) if i % _FOLDS != fold])
        found[fold::_FOLDS] = confidences(fits, rows[fold::_FOLDS], part=part)
    return found


def main() -> None:
    """Run the program."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--recorded", type=Path, help="answers that fits of tasks are made of")
    parser.add_argument("--answers", type=Path, help="recorded answers that all fits are made of")
    parser.add_argument("--to", type=Path, default=SHIPPED, help="file to write")
    parser.add_argument("--check", action="store_true", help="write nothing")
    arguments = parser.parse_args()
    if arguments.answers is None:
        fits = shipped_fits(arguments.recorded)
    else:
        rows = rows_of(arguments.answers)
        middle = len(rows) * 3 // 4
        fits = with_errors(fits_of(rows[:middle]), rows[middle:])
    for one in fits:
        print(f"{one.part:6} {one.task:7} rows {one.rows:5}  ECE held out {one.ece:.3f}")
    if not arguments.check:
        arguments.to.write_bytes(calibration_file(fits))


if __name__ == "__main__":
    main()
