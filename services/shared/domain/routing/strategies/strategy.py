"""What a strategy is asked, and what it answers."""

from collections.abc import Callable, Sequence

import msgspec

from services.shared.domain.complexity.classifier import Classifier
from services.shared.domain.configuration import Model
from services.shared.domain.events import InferenceRequested
from services.shared.domain.routing.gates import Candidate
from services.shared.domain.routing.observed import Observed


class Situation(msgspec.Struct, frozen=True, kw_only=True):
    """What a strategy decides on.

    Attributes:
        request: The request.
        model: The alias as configured.
        candidates: Its targets, in the configured order.
        passed: Those of them that can serve the request, in the same order; not empty.
        classifier: Its classifier; None = it has none, so nothing can be said of any request.
        observed: What was seen of targets and conversations.
        now_ms: The time, unix ms.
        conversation: Key of the request's conversation; empty = it belongs to none, or its alias
            does not hold conversations.
    """

    request: InferenceRequested
    model: Model
    candidates: Sequence[Candidate]
    passed: Sequence[Candidate]
    classifier: Classifier | None
    observed: Observed
    now_ms: float
    conversation: str = ""


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """What a strategy answers.

    Attributes:
        ordered: All targets of the situation, the first choice first.
        reason: Why the first one leads; one sentence without its full stop.
        score: How hard the request looks; 0 = not asked.
        tier: Part of the traffic that it was counted to; empty = not asked.
        is_cascade: Whether the answer is judged, and the next target asked if it is doubtful.
        is_trial: Whether the first one leads only to be measured.
    """

    ordered: list[Candidate]
    reason: str
    score: float = 0.0
    tier: str = ""
    is_cascade: bool = False
    is_trial: bool = False


Ordering = Callable[[Situation], Choice]
"""A strategy."""
