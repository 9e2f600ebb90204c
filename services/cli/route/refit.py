"""Weights that know own traffic: the old ones, and what own labels add to them."""

from collections.abc import Sequence
from hashlib import blake2b

import msgspec
import numpy as np

from services.cli.route.apgr import judge
from services.cli.route.labels import Label, examples_of, judged
from services.cli.route.training import (
    Recipe,
    fit_grams,
    packed,
    standardised,
    with_reference,
)
from services.shared.domain.complexity.classifier import Classifier, Weights

LEAST_LABELS = 100
SHARES = (0.3, 0.6, 1.0)
"""What own labels may count, of the deviation of the old score; the one that ranks best is taken."""

_KEPT_OUT = 3  # of 10
_RECIPE = Recipe(least_documents=2, most_grams=10_000)


class Refit(msgspec.Struct, frozen=True, kw_only=True):
    """What a refit came to.

    Attributes:
        weights: The new weights, fitted to all labels.
        labels: Labels that they were fitted to.
        kept_out: Labels that both figures are of; none of them was fitted to for these.
        old: APGR of the old weights; None = the strong model was no better, so nothing is known.
        new: APGR of new weights.
    """

    weights: Weights
    labels: int
    kept_out: int
    old: float | None
    new: float | None

    @property
    def is_better(self) -> bool:
        """Whether the new weights are to be used."""
        return self.old is not None and self.new is not None and self.new > self.old


def refit(base: Weights, labels: Sequence[Label]) -> Refit:
    """Fit what own labels add, and judge it by labels that were kept out of that fit."""
    kept_out = [label for label in labels if _is_kept_out(label.text)]
    fitted = [label for label in labels if not _is_kept_out(label.text)]
    share = max(SHARES, key=lambda share: _apgr_inside(base, fitted, share))
    trial = blended(base, fitted, share)
    return Refit(
        weights=with_reference(blended(base, labels, share), [label.text for label in labels]),
        labels=len(labels),
        kept_out=len(kept_out),
        old=apgr(base, kept_out),
        new=apgr(trial, kept_out),
    )


def blended(base: Weights, labels: Sequence[Label], share: float) -> Weights:
    """The old weights and what labels add to them, without a reference."""
    old, examples = Classifier(base), examples_of(labels)
    own = fit_grams([example.text for example in examples], *standardised(examples), _RECIPE)
    scale = share * base.deviation / (float(own.unseen.std()) or 1.0)
    grams = {name: weight * base.unit for name, weight in base.grams.items()}
    for name, weight in own.grams.items():
        grams[name] = grams.get(name, 0.0) + weight * scale
    raw = np.array([old.raw(label.text) for label in labels]) + scale * own.unseen
    return packed(grams, raw, f"{base.origin}; {len(labels)} own labels".removeprefix("; "))


def apgr(weights: Weights, labels: Sequence[Label]) -> float | None:
    """How well weights rank labelled prompts; None where there is nothing to gain."""
    rows = list(judged(labels))
    classifier = Classifier(weights)
    found = judge(
        [classifier.score(text).value for text, _, _ in rows],
        [weak for _, weak, _ in rows],
        [strong for _, _, strong in rows],
    )
    return None if found is None else found.apgr


def _apgr_inside(base: Weights, labels: Sequence[Label], share: float) -> float:
    """APGR of a share, each half judged by the weights of the other."""
    halves = [labels[::2], labels[1::2]]
    values = [apgr(blended(base, own, share), other) for own, other in (halves, halves[::-1])]
    return sum(value for value in values if value is not None)


def _is_kept_out(text: str) -> bool:
    """Whether a prompt is kept out; equal prompts are on one side."""
    return blake2b(text.encode(), digest_size=2).digest()[0] % 10 < _KEPT_OUT
