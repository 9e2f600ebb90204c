"""How good the cascade's confidence is on answers, and what escalating buys.

    python -m tests.evaluation.cascade ANSWERS          # recorded answers, JSONL or CSV
    python -m tests.evaluation.cascade --made-up        # the made-up ones, other than those fitted
    python -m tests.evaluation.cascade --bounds F.jsonl # who was right alone, without answers

``scripts/fit_cascade.py`` says what the file is like. Printed are, for the shipped calibration,
and for fits to recorded answers of which each is judged by one to the other four fifths: the
calibration error over ten bins and the one that perfect probabilities would show on so few answers,
how well right answers are told from wrong ones (AUC), and by threshold the share that is escalated,
the quality, and the share of the gap between the weak and the strong model that is recovered. Of
made-up answers each kind is judged by a fit to the other kinds.

Where only who was right is known (``dataset``, ``task``, ``weak_correct``, ``strong_correct``),
nothing can be read of answers, but their confidence can be bounded: ``--bounds`` prints what would
be recovered by one that knows who is right (escalating what is wrong, or only what the strong model
mends), one that knows no more than how often the weak model is right at that kind of task (learned
from the other half of the rows), and one drawn at random, of which each share recovers itself.
"""

# its output is its purpose

import argparse
import json
import random
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from pathlib import Path

from scripts.fit_cascade import confidences, fits_of, folded, general_fits, rows_of, task_fits
from scripts.made_up_answers import Row, made_up
from services.cli.route.recalibrate import calibration_error
from services.shared.adapters.cascade_calibration import SHIPPED, read_calibration
from services.shared.domain.cascade.calibration import ANY, Fit
from services.shared.domain.cascade.signals import task_of

THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9)


def recovered(rows: Sequence[Row], confidence: Sequence[float], threshold: float) -> list[float]:
    """Share escalated, quality, and share of the gap recovered, at a threshold."""
    count = len(rows)
    escalated = [it < threshold for it in confidence]
    quality = (
        sum(
            row.strong_correct if goes_on else row.weak_correct
            for row, goes_on in zip(rows, escalated, strict=True)
        )
        / count
    )
    weak = sum(row.weak_correct for row in rows) / count
    strong = sum(row.strong_correct for row in rows) / count
    gap = (quality - weak) / (strong - weak) if strong != weak else 0.0
    return [sum(escalated) / count, quality, gap]


def report(name: str, confidence: Sequence[float], rows: Sequence[Row]) -> None:
    """Print how good these confidences are."""
    right = [row.weak_correct for row in rows]
    weak, strong = sum(right) / len(rows), sum(row.strong_correct for row in rows) / len(rows)
    error, perfect = calibration_error(confidence, right), error_of_chance(confidence)
    print(f"{name}: {len(rows)} answers, weak {weak:.3f}, strong {strong:.3f}")
    print(f"  ECE {error:.3f} (perfect ones {perfect:.3f}), AUC {area(confidence, right):.3f}")
    for task in sorted({task_of(row.prompt) for row in rows}):
        of_task = [i for i, row in enumerate(rows) if task_of(row.prompt) == task]
        if len(of_task) >= 200:
            own = calibration_error([confidence[i] for i in of_task], [right[i] for i in of_task])
            print(f"  {task:6} {len(of_task):5} answers, ECE {own:.3f}")
    print("  threshold  escalated  quality  gap recovered")
    for threshold in THRESHOLDS:
        share, quality, gap = recovered(rows, confidence, threshold)
        print(f"  {threshold:9.2f}  {share:9.3f}  {quality:7.3f}  {gap:13.3f}")


def error_of_chance(confidence: Sequence[float]) -> float:
    """The calibration error that they would show if they were the truth, mean of 50 draws."""
    chance = random.Random(1)
    draws = (
        calibration_error(confidence, [float(chance.random() < it) for it in confidence])
        for _ in range(50)
    )
    return sum(draws) / 50


def area(confidence: Sequence[float], right: Sequence[float]) -> float:
    """The chance that a right answer has the higher confidence than a wrong one; a tie is half."""
    good = [it for it, is_right in zip(confidence, right, strict=True) if is_right]
    bad = sorted(it for it, is_right in zip(confidence, right, strict=True) if not is_right)
    wins = sum(bisect_left(bad, it) + bisect_right(bad, it) for it in good)
    return wins / (2 * len(good) * len(bad)) if good and bad else 0.5


def report_unseen_kinds(rows: Sequence[Row]) -> None:
    """Print the calibration error of each made-up kind by a fit to the others."""
    print("kinds of questions that the fit has not seen")
    errors = []
    for family in sorted({row.family for row in rows}):
        fits = general_fits([row for row in rows if row.family != family], is_recorded=False)
        own = [row for row in rows if row.family == family]
        right = [row.weak_correct for row in own]
        confidence = confidences(fits, own)
        errors.append(calibration_error(confidence, right))
        print(
            f"  {family:8} {len(own):5} answers, right {sum(right) / len(own):.3f}, "
            f"foretold {sum(confidence) / len(own):.3f}, ECE {errors[-1]:.3f}"
        )
    print(f"  mean ECE {sum(errors) / len(errors):.3f}, worst {max(errors):.3f}")


def report_bounds(path: Path) -> None:
    """Print what confidences that bound any other's would recover, by data set."""
    lines = [json.loads(line) for line in path.read_bytes().splitlines()]
    for name in sorted({line["dataset"] for line in lines}):
        own = [line for line in lines if line["dataset"] == name]
        rows = [
            Row(
                prompt="",
                weak_answer="",
                weak_correct=line["weak_correct"],
                strong_correct=line["strong_correct"],
                family=line["task"],
            )
            for line in own
        ]
        weak, strong = (
            sum(values) / len(rows)
            for values in zip(
                *((row.weak_correct, row.strong_correct) for row in rows), strict=True
            )
        )
        print(f"{name}: {len(rows)} questions, weak {weak:.3f}, strong {strong:.3f}")
        knowing = [row.weak_correct for row in rows]
        mending = [float(row.strong_correct <= row.weak_correct) for row in rows]
        for what, confidence in (("who is right", knowing), ("what is mended", mending)):
            share, quality, gap = recovered(rows, confidence, 0.5)
            print(f"  knows {what:15} escalated {share:.3f}  quality {quality:.3f}  gap {gap:.3f}")
        by_task = of_tasks(rows)
        error = calibration_error(by_task, [row.weak_correct for row in rows])
        print(f"  knows the task only: ECE {error:.3f}; in brackets what chance recovers")
        print("  threshold  escalated  quality  gap recovered")
        for threshold in THRESHOLDS:
            share, quality, gap = recovered(rows, by_task, threshold)
            print(f"  {threshold:9.2f}  {share:9.3f}  {quality:7.3f}  {gap:13.3f} ({share:.3f})")


def of_tasks(rows: Sequence[Row]) -> list[float]:
    """How often the weak model is right at the task of each row, by the other half of the rows."""
    sums: dict[tuple[str, int], list[float]] = {}
    for i, row in enumerate(rows):
        right = sums.setdefault((row.family, 1 - i % 2), [0.5, 1.0])  # one row of nothing known
        right[0] += row.weak_correct
        right[1] += 1
    found = [sums.get((row.family, i % 2), [0.5, 1.0]) for i, row in enumerate(rows)]
    return [right / count for right, count in found]


def main() -> None:
    """Run the program."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("answers", type=Path, nargs="?", help="JSONL of recorded answers")
    parser.add_argument("--made-up", action="store_true", help="take made-up answers")
    parser.add_argument("--bounds", type=Path, help="JSONL of who was right")
    arguments = parser.parse_args()
    if arguments.bounds is not None:
        report_bounds(arguments.bounds)
        return
    if arguments.answers is None and not arguments.made_up:
        parser.error("name a file of answers, or say --made-up or --bounds")
    fits = read_calibration(SHIPPED).fits
    if arguments.answers is None:
        rows = made_up(6_000, seed=7)
        general = [fit for fit in fits if fit.task == ANY]
        report("shipped general fit", confidences(general, rows), rows)
        report_unseen_kinds(rows)
        return
    rows = rows_of(arguments.answers)
    report("shipped calibration", confidences(fits, rows), rows)
    report("own fits, style included", folded(rows, fits_of), rows)

    def of_any_model(part: Sequence[Row]) -> list[Fit]:
        return general_fits(part, is_recorded=True) + task_fits(part, of_any_model=True)

    report("as the fits of tasks are shipped", folded(rows, of_any_model), rows)


if __name__ == "__main__":
    main()
