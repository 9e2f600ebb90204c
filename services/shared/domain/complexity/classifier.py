"""How hard a request looks: hand-written cues and learned weights of n-grams, added up.

The learned part knows the kinds of traffic that it was fitted on and is close to nothing for
others, as what it does not know adds nothing but length; the cues hold for all. The score is a rank
between 0 and 1, the share of the reference prompts that look easier; ``cuts`` makes tiers of it.
"""

from collections.abc import Mapping
from math import erf, fsum, log, sqrt

import msgspec

from services.shared.domain.complexity.cues import cues_of, grams_of, tells
from services.shared.domain.errors import InvalidConfiguration

FORMAT = "millrace-complexity-1"
LEAST_KNOWN = 0.15
"""Share of the words of a text that must be known, where no cue is found, not to be unsure."""

_SHORT = 8
_SHOWN_CUES = 6
_SQRT_2 = sqrt(2)


class Weights(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the classifier learned; the content of a weights file.

    Attributes:
        format: Name of the format.
        unit: What a whole number in ``grams`` stands for, in the unit of the cue score.
        mean: Mean of the raw score over the reference prompts.
        deviation: Standard deviation of the raw score over the reference prompts.
        reference: Quantiles of the final scores of the reference prompts, at equal steps.
        grams: Weight of each word and pair of words, in units.
        origin: What it was fitted on, for people.
    """

    format: str
    unit: float
    mean: float
    deviation: float
    reference: tuple[float, ...]
    grams: dict[str, int]
    origin: str = ""


class Complexity(msgspec.Struct, frozen=True):
    """How hard a text looks.

    Attributes:
        value: Share of the reference prompts that look easier, ratio 0..1; a rank.
        is_unsure: Whether nothing was found to go by.
        cues: What counted most, the strongest first, as name and signed amount in standard
            deviations.
    """

    value: float
    is_unsure: bool
    cues: tuple[str, ...] = ()


class Classifier:
    """Scores texts by one set of weights.

    Attributes:
        weights: The weights.
    """

    def __init__(self, weights: Weights) -> None:
        """Make a classifier."""
        self.weights = weights

    def score(self, text: str) -> Complexity:
        """Score a text; one of some kB takes a fraction of a millisecond.

        Args:
            text: What ``prompt_text`` finds in a request.
        """
        words, grams = grams_of(text)
        cues = cues_of(text, grams)
        learned, known = self._learned(words, grams)
        weights = self.weights
        deviations = (fsum(cues.values()) + learned - weights.mean) / weights.deviation
        return Complexity(
            value=0.5 + 0.5 * erf(deviations / _SQRT_2),
            is_unsure=known <= LEAST_KNOWN * words and not tells(cues),
            cues=_strongest({**cues, "n-grams": learned}, weights.deviation),
        )

    def raw(self, text: str) -> float:
        """The sum that the score of a text is made of."""
        words, grams = grams_of(text)
        return fsum(cues_of(text, grams).values()) + self._learned(words, grams)[0]

    def _learned(self, words: int, grams: Mapping[str, int]) -> tuple[float, int]:
        """The learned part of the score, and how many n-grams it knows."""
        learned = self.weights.grams.get
        known, total = 0, 0.0
        for gram, count in grams.items():
            weight = learned(gram)
            if weight is not None:
                known += 1
                total += weight if count == 1 else weight * gram_weight(count)
        return total * self.weights.unit / norm(words), known


def gram_weight(count: int) -> float:
    """What an n-gram counts that occurs so often."""
    return 1.0 if count == 1 else 1.0 + log(count)


def norm(words: int) -> float:
    """What the sum over the n-grams of a text is divided by, known or not.

    So a text of which little is known has a learned part near zero.
    """
    return sqrt(max(words, _SHORT))


def weights_from_json(content: bytes, *, name: str) -> Weights:
    """Read a weights file.

    Args:
        content: The file.
        name: Its name, for the message.

    Raises:
        InvalidConfiguration: It is no weights file. Not retriable.
    """
    try:
        weights = msgspec.json.decode(content, type=Weights)
    except msgspec.DecodeError as error:
        raise InvalidConfiguration(f"{name} is no weights file: {error}") from error
    if weights.format != FORMAT or not weights.deviation > 0:
        raise InvalidConfiguration(
            f"{name} is no weights file of the format {FORMAT}. 'millrace route fit' writes one."
        )
    return weights


def _strongest(parts: Mapping[str, float], deviation: float) -> tuple[str, ...]:
    counted = sorted(parts.items(), key=lambda part: (-abs(part[1]), part[0]))[:_SHOWN_CUES]
    return tuple(f"{name} {amount / deviation:+.2f}" for name, amount in counted)
