"""The strategy ``cascade``: the weakest target first, the next one if its answer is doubtful."""

from services.shared.domain.configuration_routing import CascadeStream
from services.shared.domain.events import Operation
from services.shared.domain.routing.strategies.strategy import Choice, Situation


def weakest_first(situation: Situation) -> Choice:
    """Targets as configured, from the weakest to the strongest."""
    ordered = list(situation.passed)
    why_not = why_not_judged(situation)
    if why_not:
        return Choice(ordered=ordered, reason=f"the weakest; its answer is not judged: {why_not}")
    threshold = situation.model.cascade.threshold
    reason = f"the weakest; the next one if its answer is good with less than {threshold:g}"
    return Choice(ordered=ordered, reason=reason, is_cascade=True)


def why_not_judged(situation: Situation) -> str:
    """Why the answer to a request cannot be judged; empty when it can."""
    request = situation.request
    if request.operation == Operation.EMBEDDINGS:
        return "embeddings are not"
    if request.choice_count > 1:
        return "it has several choices"
    if request.stream and situation.model.cascade.stream is CascadeStream.SKIP:
        return "streams are not"
    if len(situation.passed) == 1:
        return "there is no other target"
    return ""
