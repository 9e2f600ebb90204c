"""How good the cascade's confidence is on answers, and what escalating buys.

    python -m tests.evaluation.cascade ANSWERS.jsonl    # recorded answers
    python -m tests.evaluation.cascade --made-up        # the made-up ones, other than those fitted

One JSON object a line: ``prompt``, ``weak_answer``, ``weak_correct``, ``strong_correct``. Printed
are, for the shipped calibration and for one fitted to two thirds of the answers and judged on the
rest: the calibration error over ten bins, and by threshold the share that is escalated, the
quality, and the share of the gap between the weak and the strong model that is recovered.
"""

# its output is its purpose

import argparse
from collections.abc import Sequence
from pathlib import Path

import msgspec

from scripts.fit_cascade import calibration_error, confidences, fits_of, rows_of
from scripts.made_up_answers import Row, made_up
from services.shared.domain.cascade.calibration import Fit
from services.shared.domain.cascade.signals import task_of

THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9)
_SHIPPED = Path("services/shared/adapters/cascade_calibration.json")


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


def report(name: str, fits: Sequence[Fit], rows: Sequence[Row]) -> None:
    """Print how good these fits are on these answers."""
    confidence = confidences(fits, rows)
    right = [row.weak_correct for row in rows]
    error = calibration_error(confidence, right)
    weak, strong = sum(right) / len(rows), sum(row.strong_correct for row in rows) / len(rows)
    print(f"{name}: {len(rows)} answers, weak {weak:.3f}, strong {strong:.3f}, ECE {error:.3f}")
    for task in sorted({task_of(row.prompt) for row in rows}):
        of_task = [i for i, row in enumerate(rows) if task_of(row.prompt) == task]
        if len(of_task) >= 200:
            own = calibration_error([confidence[i] for i in of_task], [right[i] for i in of_task])
            print(f"  {task:6} {len(of_task):5} answers, ECE {own:.3f}")
    print("  threshold  escalated  quality  gap recovered")
    for threshold in THRESHOLDS:
        share, quality, gap = recovered(rows, confidence, threshold)
        print(f"  {threshold:9.2f}  {share:9.3f}  {quality:7.3f}  {gap:13.3f}")


def main() -> None:
    """Run the program."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("answers", type=Path, nargs="?", help="JSONL of recorded answers")
    parser.add_argument("--made-up", action="store_true", help="take made-up answers")
    arguments = parser.parse_args()
    if arguments.answers is None and not arguments.made_up:
        parser.error("name a file of answers, or say --made-up")
    rows = rows_of(arguments.answers) if arguments.answers else made_up(6_000, seed=7)
    fits = msgspec.convert(msgspec.json.decode(_SHIPPED.read_bytes())["fits"], list[Fit])
    report("shipped calibration", fits, rows)
    middle = len(rows) * 2 // 3
    report("fitted to two thirds", fits_of(rows[:middle], is_recorded=True), rows[middle:])


if __name__ == "__main__":
    main()
