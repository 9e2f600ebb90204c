"""Weights for the classifier from labelled prompts."""

from collections.abc import Mapping, Sequence
from math import fsum

import msgspec
import numpy as np

from services.cli.route.ridge import Floats, Sparse, solve, sparse_rows
from services.shared.domain.complexity.classifier import FORMAT, Classifier, Weights
from services.shared.domain.complexity.cues import cues_of, grams_of

FOLDS = 5
QUANTILES = 41
_UNITS = 999


class Example(msgspec.Struct, frozen=True):
    """A labelled prompt.

    Attributes:
        text: The prompt, as ``prompt_text`` finds it.
        need: How much better the strong model's answer was, -1..1.
        source: Where it comes from. Needs are compared within a source only, as those of two pairs
            of models have nothing in common, and each source counts as the root of its size.
    """

    text: str
    need: float
    source: str = ""


class Recipe(msgspec.Struct, frozen=True, kw_only=True):
    """How weights are fitted.

    Attributes:
        penalty: Weight of the squared weights against the squared errors.
        share: Standard deviation of the learned part, of that of the cues.
        least_documents: Examples that an n-gram must occur in.
        most_grams: N-grams at most.
    """

    penalty: float = 10.0
    share: float = 0.6
    least_documents: int = 4
    most_grams: int = 20_000


def standardised(examples: Sequence[Example]) -> tuple[Floats, Floats]:
    """Needs of mean 0 and deviation 1 within each source, and how much each example counts."""
    sources = np.array([example.source for example in examples])
    needs = np.array([example.need for example in examples], dtype=np.float64)
    targets, importance = np.zeros(len(examples)), np.zeros(len(examples))
    for source in sorted(set(sources.tolist())):
        own = sources == source
        spread = float(needs[own].std())
        targets[own] = (needs[own] - needs[own].mean()) / spread if spread else 0.0
        importance[own] = 1 / np.sqrt(own.sum())
    return targets, importance * (len(examples) / importance.sum())


def cue_scores(texts: Sequence[str]) -> Floats:
    """The part of the score that is not learned, one a text."""
    return np.array([fsum(cues_of(text, grams_of(text)[1]).values()) for text in texts])


class Learned(msgspec.Struct, frozen=True):
    """What was learned of n-grams.

    Attributes:
        grams: Weight of each n-gram.
        unseen: What the weights of the other folds say of each text.
    """

    grams: dict[str, float]
    unseen: Floats


def fit_grams(texts: Sequence[str], targets: Floats, importance: Floats, recipe: Recipe) -> Learned:
    """Fit weights of n-grams to one target a text."""
    matrix = sparse_rows(
        texts, least_documents=recipe.least_documents, most_names=recipe.most_grams
    )
    learned = solve(matrix, targets, importance, penalty=recipe.penalty) * matrix.scales
    return Learned(
        grams=dict(zip(matrix.names, learned.tolist(), strict=True)),
        unseen=_out_of_fold(matrix, targets, importance, recipe.penalty),
    )


def fit(examples: Sequence[Example], recipe: Recipe, *, origin: str) -> Weights:
    """Fit weights to examples.

    The learned part is scaled by its deviation on examples that it was not fitted on, which is what
    it will have on others.

    Args:
        examples: Some hundred at least.
        recipe: How.
        origin: What they are, for people who read the file.

    Returns:
        Weights without a reference, see ``with_reference``.
    """
    texts = [example.text for example in examples]
    learned = fit_grams(texts, *standardised(examples), recipe)
    cues = cue_scores(texts)
    scale = recipe.share * float(cues.std()) / (float(learned.unseen.std()) or 1.0)
    grams = {name: weight * scale for name, weight in learned.grams.items()}
    return packed(grams, cues + scale * learned.unseen, origin)


def with_reference(weights: Weights, texts: Sequence[str]) -> Weights:
    """Weights with the quantiles of the scores that they give to texts."""
    classifier = Classifier(weights)
    scores = [classifier.score(text).value for text in texts]
    quantiles = np.quantile(scores, np.linspace(0, 1, QUANTILES))
    return msgspec.structs.replace(
        weights, reference=tuple(round(float(value), 3) for value in quantiles)
    )


def packed(grams: Mapping[str, float], raw: Floats, origin: str) -> Weights:
    """Weights as whole numbers, without a reference.

    Args:
        grams: Weight of each n-gram, in the unit of the cue score.
        raw: Raw scores of texts that they were not fitted on.
        origin: What they were fitted on, for people who read the file.
    """
    largest = max(map(abs, grams.values()), default=0.0) or 1.0
    unit = float(f"{largest / _UNITS:.4g}")
    whole = {name: round(weight / unit) for name, weight in sorted(grams.items())}
    return Weights(
        format=FORMAT,
        unit=unit,
        mean=round(float(raw.mean()), 3),
        deviation=round(float(raw.std()), 3) or 1.0,
        reference=(),
        grams={name: weight for name, weight in whole.items() if weight},
        origin=origin,
    )


def _out_of_fold(matrix: Sparse, targets: Floats, importance: Floats, penalty: float) -> Floats:
    """What weights say that were fitted without the very text."""
    fold = np.arange(matrix.count) % FOLDS
    found = np.zeros(matrix.count)
    for index in range(FOLDS):
        kept = np.where(fold == index, 0.0, importance)
        said = matrix.times(solve(matrix, targets, kept, penalty=penalty))
        found[fold == index] = said[fold == index]
    return found
