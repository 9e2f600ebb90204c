"""The learned verifier: a small ensemble of decision trees over similarity and wording.

Its weights, ``verifier.json``, are made by ``scripts/train_verifier.py``.
"""

from importlib.resources import files
from itertools import pairwise

import msgspec

from services.cache_lookup.semantic.features import NAMES, features_of


class Tree(msgspec.Struct, frozen=True):
    """A tree; the children of node ``i`` are ``2 i + 1`` (not above the cut) and ``2 i + 2``.

    Attributes:
        feature: Feature that each inner node looks at.
        cut: Where each inner node divides.
        value: What each leaf adds to the log-odds.
    """

    feature: tuple[int, ...]
    cut: tuple[float, ...]
    value: tuple[float, ...]


class Verifier(msgspec.Struct, frozen=True):
    """The ensemble.

    Attributes:
        features: Names of the features that it was trained on.
        bias: Log-odds before any tree.
        trees: The trees.
        scale: Log-odds and the score that stands for them, ascending; between them it is linear.
    """

    features: tuple[str, ...]
    bias: float
    trees: tuple[Tree, ...]
    scale: tuple[tuple[float, float], ...]


VERIFIER = msgspec.json.decode(
    (files("services.cache_lookup.semantic") / "verifier.json").read_bytes(), type=Verifier
)
if VERIFIER.features != NAMES:
    raise ValueError("verifier.json was trained on other features")


def verifier_score(asked: str, cached: str, similarity: float) -> float:
    """How sure it is that two questions have one answer, 0..1, on the scale of similarities.

    Args:
        asked: A question.
        cached: Another, to which no guard objects.
        similarity: Their cosine, -1..1.
    """
    return scaled(log_odds(VERIFIER, features_of(asked, cached, similarity)), VERIFIER.scale)


def log_odds(verifier: Verifier, features: tuple[float, ...]) -> float:
    """The ensemble's log-odds that a pair is right."""
    total = verifier.bias
    for tree in verifier.trees:
        feature, cut, node = tree.feature, tree.cut, 0
        inner = len(cut)
        while node < inner:
            node = 2 * node + (1 if features[feature[node]] <= cut[node] else 2)
        total += tree.value[node - inner]
    return total


def scaled(odds: float, scale: tuple[tuple[float, float], ...]) -> float:
    """Map log-odds to a score, linearly between the points of the scale."""
    for (low, score), (high, next_score) in pairwise(scale):
        if odds <= high:
            share = max(0.0, (odds - low) / (high - low))
            return score + share * (next_score - score)
    return scale[-1][1]
