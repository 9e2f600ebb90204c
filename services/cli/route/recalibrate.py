"""A calibration that knows own traffic: the old one, bent by what was said of own answers. Pure.

What answers show is read anew from requests and answers, so it does not matter which calibration
was in force when they were given. Two numbers are fitted for each target, shift and scale of the
logit (Platt 1999), drawn to those that change nothing: as many as some hundred labels bear.
"""

import math
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from itertools import pairwise

import msgspec

from services.cli.route.answers import JudgedAnswer
from services.shared.domain.cascade.calibration import (
    ANY,
    Calibration,
    Fit,
    logistic,
    logit,
    recalibrated,
)

LEAST_ANSWERS = 100

_FOLDS = 5
_MOST_BINS = 10
_ANSWERS_A_BIN = 50
_STEPS = 50
_HALVINGS = 30
_PENALTY = 1.0


class Bend(msgspec.Struct, frozen=True):
    """What is done to the logit of a probability.

    Attributes:
        shift: What is added to it.
        scale: Factor before, not negative.
    """

    shift: float = 0.0
    scale: float = 1.0


class Figures(msgspec.Struct, frozen=True):
    """How good probabilities are.

    Attributes:
        error: Expected calibration error.
        loss: Mean log loss.
    """

    error: float
    loss: float


class Recalibration(msgspec.Struct, frozen=True, kw_only=True):
    """What a target's recalibration came to.

    Attributes:
        model: The target, as ``provider/model``.
        answers: Judged answers.
        good: Their mean score.
        bins: Of the calibration error.
        old: Figures of the old calibration.
        new: The same of answers each judged by a fit to the other prompts.
        fits: The new fits, of all answers.
    """

    model: str
    answers: int
    good: float
    bins: int
    old: Figures
    new: Figures
    fits: tuple[Fit, ...]

    @property
    def is_better(self) -> bool:
        """Whether the new fits are to be used."""
        return self.new.loss < self.old.loss


def recalibrate(base: Calibration, model: str, answers: Sequence[JudgedAnswer]) -> Recalibration:
    """Fit a target's own calibration, and judge it by answers kept out of each fit.

    Args:
        base: The old calibration.
        model: The target.
        answers: Its judged answers, ``LEAST_ANSWERS`` at least.
    """
    old = [_fit_for(base, it).probability(it.signals) for it in answers]
    scores = [it.score for it in answers]
    folds = [_fold(it.prompt) for it in answers]
    bends = [
        bend_of([(p, y) for p, y, fold in zip(old, scores, folds, strict=True) if fold != kept_out])
        for kept_out in range(_FOLDS)
    ]
    new = [
        recalibrated(_fit_for(base, it), bends[fold].shift, bends[fold].scale).probability(
            it.signals
        )
        for it, fold in zip(answers, folds, strict=True)
    ]
    bins = max(2, min(_MOST_BINS, len(answers) // _ANSWERS_A_BIN))
    found = figures(new, scores, bins=bins)
    return Recalibration(
        model=model,
        answers=len(answers),
        good=sum(scores) / len(scores),
        bins=bins,
        old=figures(old, scores, bins=bins),
        new=found,
        fits=_fits(base, model, bend_of(list(zip(old, scores, strict=True))), len(answers), found),
    )


def bend_of(judged: Sequence[tuple[float, float]]) -> Bend:
    """The bend that makes probabilities the likeliest, given the scores; by Newton's method.

    Args:
        judged: Probabilities, and scores 0..1.
    """
    bend = _newton(judged, is_scaled=True)
    return bend if bend.scale >= 0 else _newton(judged, is_scaled=False)


def calibration_error(
    confidence: Sequence[float], right: Sequence[float], *, bins: int = _MOST_BINS
) -> float:
    """Expected calibration error over bins of equally many answers."""
    pairs = sorted(zip(confidence, right, strict=True), key=lambda pair: pair[0])
    cuts = [len(pairs) * i // bins for i in range(bins + 1)]
    parts = [pairs[begin:end] for begin, end in pairwise(cuts)]
    return sum(abs(sum(p - y for p, y in part)) for part in parts) / len(pairs)


def figures(confidence: Sequence[float], scores: Sequence[float], *, bins: int) -> Figures:
    """How good probabilities are, given the scores."""
    loss = 0.0
    for p, y in zip(confidence, scores, strict=True):
        bounded = logistic(logit(p))
        loss -= y * math.log(bounded) + (1 - y) * math.log(1 - bounded)
    return Figures(calibration_error(confidence, scores, bins=bins), loss / len(scores))


def _newton(judged: Sequence[tuple[float, float]], *, is_scaled: bool) -> Bend:
    """Newton's method, each step halved until it makes the scores likelier."""
    rows = [(logit(p) if is_scaled else 0.0, y) for p, y in judged]
    bend = unbent = Bend(0.0, float(is_scaled))
    loss = _penalized_loss(rows, bend, unbent)
    for _ in range(_STEPS):
        by_shift, by_scale = _newton_step(rows, bend, unbent)
        for halvings in range(_HALVINGS):
            length = 0.5**halvings
            tried = Bend(bend.shift - length * by_shift, bend.scale - length * by_scale)
            new_loss = _penalized_loss(rows, tried, unbent)
            if new_loss < loss:
                bend, loss = tried, new_loss
                break
        else:
            break  # no step makes it better
    return bend


def _penalized_loss(rows: Sequence[tuple[float, float]], bend: Bend, unbent: Bend) -> float:
    away = (bend.shift - unbent.shift) ** 2 + (bend.scale - unbent.scale) ** 2
    logits = ((bend.shift + bend.scale * x, y) for x, y in rows)
    return _PENALTY * away / 2 + sum(_softplus(at) - y * at for at, y in logits)


def _softplus(x: float) -> float:
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


def _newton_step(
    rows: Sequence[tuple[float, float]], bend: Bend, unbent: Bend
) -> tuple[float, float]:
    slope_shift = _PENALTY * (bend.shift - unbent.shift)
    slope_scale = _PENALTY * (bend.scale - unbent.scale)
    by_shift, by_both, by_scale = _PENALTY, 0.0, _PENALTY
    for x, y in rows:
        p = logistic(bend.shift + bend.scale * x)
        weight = p * (1 - p)
        slope_shift += p - y
        slope_scale += (p - y) * x
        by_shift += weight
        by_both += weight * x
        by_scale += weight * x * x
    determinant = by_shift * by_scale - by_both * by_both
    return (
        (by_scale * slope_shift - by_both * slope_scale) / determinant,
        (by_shift * slope_scale - by_both * slope_shift) / determinant,
    )


def _fits(base: Calibration, model: str, bend: Bend, rows: int, found: Figures) -> tuple[Fit, ...]:
    """The target's own fits of whole answers: the old ones that hold for it, bent."""
    return tuple(
        msgspec.structs.replace(
            recalibrated(fit, bend.shift, bend.scale),
            model=model,
            task=task,
            rows=rows,
            ece=round(found.error, 4),
        )
        for task in _tasks(base.fits)
        if (fit := base.fit_for(model, task, "whole")) is not None
    )


def _tasks(fits: Iterable[Fit]) -> list[str]:
    return sorted({ANY, *(fit.task for fit in fits if fit.part == "whole")})


def _fit_for(base: Calibration, answer: JudgedAnswer) -> Fit:
    fit = base.fit_for(answer.model, answer.task, "whole")
    assert fit is not None  # noqa: S101  # every calibration has one for all
    return fit


def _fold(prompt: str) -> int:
    """The fold of a prompt; equal prompts are in one."""
    return blake2b(prompt.encode(errors="replace"), digest_size=4).digest()[0] % _FOLDS
