"""From what an answer shows to the probability that it is good. Pure.

A calibration is a JSON file; ``millrace route fit --cascade`` and ``scripts/fit_cascade.py`` write
it::

    {"format": "millrace-cascade-calibration-1",
     "fits": [{"model": "*", "task": "*", "part": "whole",
               "intercept": 1.1, "weights": {"wrong_equations": -1.9, "hedges": -0.7},
               "scale": 1.0, "shift": 0.0,
               "knots": [[-2.0, 0.06], [0.4, 0.61], [2.1, 0.9]],
               "rows": 4000, "ece": 0.02}]}

``score = intercept + sum(weight * signal)``, then ``x = shift + scale * score``. Without knots the
probability is ``1 / (1 + exp(-x))`` (Platt); with knots it is read between them (isotonic), and is
that of the first or last one outside.

Of several fits the first of these applies: model and task, model alone, task alone, neither; a
model is ``provider/model`` as in a route, ``*`` stands for any. ``part`` is ``whole``, or
``prefix`` for beginnings of answers. ``rows`` and ``ece`` say where the numbers come from.
"""

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Annotated, Literal

import msgspec

_LEAST_DOUBT = 0.001
_BETWEEN_KNOTS = 8

FORMAT = "millrace-cascade-calibration-1"
ANY = "*"

Probability = Annotated[float, msgspec.Meta(ge=0, le=1)]
Part = Literal["whole", "prefix"]


class Fit(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How signals become a probability, for one model and kind of task.

    Attributes:
        model: ``provider/model``, or ``*``.
        task: Kind of task (``services.shared.domain.cascade.signals.task_of``), or ``*``.
        part: What of an answer is read: ``whole`` or ``prefix``.
        intercept: The score where every signal is 0.
        weights: What each signal adds to the score, by its name.
        scale: Factor from the score to the logit.
        shift: What is added to it.
        knots: Logits and their probabilities, both ascending; empty = the logistic function.
        rows: Number of judged answers that it was fitted to.
        ece: Calibration error on answers kept out of the fit.
    """

    model: str = ANY
    task: str = ANY
    part: Part = "whole"
    intercept: float = 0.0
    weights: dict[str, float] = {}
    scale: float = 1.0
    shift: float = 0.0
    knots: tuple[tuple[float, Probability], ...] = ()
    rows: int = 0
    ece: float = 0.0

    def probability(self, signals: Mapping[str, float]) -> float:
        """The probability that an answer with these signals is good, 0..1."""
        weights = self.weights
        score = self.intercept + sum(
            weights.get(name, 0.0) * value for name, value in signals.items()
        )
        logit = self.shift + self.scale * score
        return between(self.knots, logit) if self.knots else logistic(logit)


class _File(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    format: Literal["millrace-cascade-calibration-1"]
    fits: tuple[Fit, ...]


class Calibration:
    """The fits of one file."""

    def __init__(self, fits: Sequence[Fit]) -> None:
        """Keep them; a later one of the same model, task and part takes the place of an earlier."""
        self._fits = {(fit.part, fit.model, fit.task): fit for fit in fits}

    @property
    def fits(self) -> tuple[Fit, ...]:
        """All of them."""
        return tuple(self._fits.values())

    def fit_for(self, model: str, task: str, part: Part) -> Fit | None:
        """The fit that applies; None = the file has none for this part."""
        for key in ((model, task), (model, ANY), (ANY, task), (ANY, ANY)):
            fit = self._fits.get((part, *key))
            if fit is not None:
                return fit
        return None


def calibration_of(data: bytes, *, known: frozenset[str]) -> Calibration:
    """Read a calibration file.

    Args:
        data: Its bytes.
        known: Names of the signals there are.

    Raises:
        ValueError: It is none; the text says what is wrong.
    """
    try:
        fits = msgspec.json.decode(data, type=_File).fits
    except msgspec.DecodeError as error:  # of what it is a kind when the JSON is of another shape
        raise ValueError(str(error)) from error
    for fit in fits:
        if unknown := sorted(fit.weights.keys() - known):
            raise ValueError(f"unknown signal {unknown[0]!r}; known: {', '.join(sorted(known))}")
        if list(fit.knots) != sorted(fit.knots) or _falls([knot[1] for knot in fit.knots]):
            raise ValueError("knots do not ascend")
    if not any((fit.model, fit.task, fit.part) == (ANY, ANY, "whole") for fit in fits):
        raise ValueError("no fit for every model and task ('*') is among them")
    return Calibration(fits)


def calibration_file(fits: Sequence[Fit]) -> bytes:
    """The bytes of a calibration file, one fit a line."""
    lines = ",\n  ".join(msgspec.json.encode(fit, order="sorted").decode() for fit in fits)
    return f'{{"format": "{FORMAT}", "fits": [\n  {lines}\n]}}\n'.encode()


def recalibrated(fit: Fit, shift: float, scale: float) -> Fit:
    """A fit whose probabilities' logits are shifted and scaled (not negative).

    Between knots it is exact at eight points, and on the line between those.
    """
    if not fit.knots:
        return msgspec.structs.replace(
            fit, shift=shift + scale * fit.shift, scale=scale * fit.scale
        )
    at = [fit.knots[0][0]]
    for (begin, _), (end, _) in pairwise(fit.knots):
        at += [begin + (end - begin) * step / _BETWEEN_KNOTS for step in range(1, _BETWEEN_KNOTS)]
        at.append(end)
    knots = tuple((x, logistic(shift + scale * logit(between(fit.knots, x)))) for x in at)
    return msgspec.structs.replace(fit, knots=knots)


def logit(probability: float) -> float:
    """The logit of a probability, of those nearest to 0 and 1 a bounded one."""
    bounded = min(1 - _LEAST_DOUBT, max(_LEAST_DOUBT, probability))
    return math.log(bounded / (1 - bounded))


def logistic(logit: float) -> float:
    """The logistic function, without overflow."""
    if logit >= 0:
        return 1.0 / (1.0 + math.exp(-logit))
    return math.exp(max(logit, -700.0)) / (1.0 + math.exp(max(logit, -700.0)))


def between(knots: Sequence[tuple[float, float]], x: float) -> float:
    """What stands at ``x`` on the line through the knots; level outside of them."""
    after = bisect_right(knots, (x, math.inf))
    if after == 0:
        return knots[0][1]
    if after == len(knots):
        return knots[-1][1]
    (x0, y0), (x1, y1) = knots[after - 1], knots[after]
    return y0 + (y1 - y0) * (x - x0) / (x1 - x0)


def _falls(values: Sequence[float]) -> bool:
    return any(later < earlier for earlier, later in pairwise(values))
