"""``millrace route fit --cascade``: a calibration from what was said of an alias's answers."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from services.cli.errors import CommandError
from services.cli.invocation import Invocation

if TYPE_CHECKING:
    from services.cli.route.answers import JudgedAnswer
    from services.cli.route.feedback import Reader
    from services.cli.route.recalibrate import Recalibration
    from services.shared.domain.cascade.calibration import Calibration


def fit_cascade(
    invocation: Invocation,
    alias: str,
    source: "Callable[[], Callable[[str], Reader]]",
    *,
    out: Path,
    base: Path | None,
) -> None:
    """Fit the calibration of a cascade to the judged answers of an alias, and say the figures.

    Args:
        invocation: How the command was called.
        alias: The alias.
        source: Connects, and opens topics.
        out: File to write.
        base: Calibration to begin with; None = the shipped one.

    Raises:
        CommandError: Of no target are there enough judged answers.
        typer.Exit: Nothing foretells answers better than it did.
    """
    from services.cli.route.answers import answers_from_feedback  # noqa: PLC0415
    from services.cli.route.feedback import read_feedback  # noqa: PLC0415
    from services.shared.adapters.cascade_calibration import (  # noqa: PLC0415
        SHIPPED,
        read_calibration,
    )
    from services.shared.domain.cascade.calibration import calibration_file  # noqa: PLC0415

    old = read_calibration(invocation.path(base) if base else SHIPPED)
    answers = answers_from_feedback(*read_feedback(source()), alias)
    results = recalibrations(old, alias, answers)
    for result in results:
        _say(invocation, said(result))
    better = [fit for result in results if result.is_better for fit in result.fits]
    if not better:
        raise typer.Exit(1)
    target = invocation.path(out)
    target.write_bytes(calibration_file([*old.fits, *better]))
    _say(invocation, f"Written: {target}")


def recalibrations(
    old: "Calibration", alias: str, answers: "Sequence[JudgedAnswer]"
) -> "list[Recalibration]":
    """The recalibrations of all targets of which enough answers were judged.

    Raises:
        CommandError: There are none; says how many answers there are of which.
    """
    from services.cli.route.recalibrate import LEAST_ANSWERS, recalibrate  # noqa: PLC0415

    by_model: dict[str, list[JudgedAnswer]] = {}
    for answer in answers:
        by_model.setdefault(answer.model, []).append(answer)
    enough = {model: own for model, own in by_model.items() if len(own) >= LEAST_ANSWERS}
    if not enough:
        counts = ", ".join(f"{len(own)} of {model}" for model, own in sorted(by_model.items()))
        raise CommandError(
            f"Judged answers of the alias '{alias}': {counts or 'none'}; at least {LEAST_ANSWERS} "
            "of one target are needed. Nothing is changed: give feedback by "
            "POST /v1/requests/{id}/feedback."
        )
    return [recalibrate(old, model, own) for model, own in sorted(enough.items())]


def said(result: "Recalibration") -> str:
    """What the recalibration of a target came to."""
    end = "The new one is better." if result.is_better else "The old one stays."
    return (
        f"{result.model}: {result.answers} judged answers, {result.good:.0%} good. Calibration "
        f"error ({result.bins} bins; new: by fits to other prompts): old {result.old.error:.3f}, "
        f"new {result.new.error:.3f}; log loss: old {result.old.loss:.3f}, new "
        f"{result.new.loss:.3f}. {end}"
    )


def _say(invocation: Invocation, text: str) -> None:
    invocation.console.print(text, markup=False, highlight=False, soft_wrap=True)
