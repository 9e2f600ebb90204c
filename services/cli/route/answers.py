"""Answers of own traffic of which somebody said how good they were, as the cascade reads them."""

from collections.abc import Iterable, Mapping
from statistics import fmean

import msgspec

from services.cli.route.labels import ESCALATION
from services.shared.domain.cascade.asked import asked_of
from services.shared.domain.cascade.signals import (
    given_of,
    is_settled_by_structure,
    signals_of,
    task_of,
)
from services.shared.domain.events import (
    FeedbackGiven,
    InferenceFinished,
    InferenceRequested,
    ModelCall,
    Operation,
)


class JudgedAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """An answer, and what it was worth.

    Attributes:
        prompt: What was asked.
        model: Who answered, as ``provider/model``.
        task: Kind of task.
        signals: What the answer shows.
        score: How good it was, 0..1.
    """

    prompt: str
    model: str
    task: str
    signals: Mapping[str, float]
    score: float


def answers_from_feedback(
    given: Iterable[FeedbackGiven],
    finished: Mapping[str, InferenceFinished],
    requests: Mapping[str, InferenceRequested],
    alias: str,
) -> list[JudgedAnswer]:
    """The judged answers of an alias, by the opinions of users and judges.

    An escalation is what the cascade itself thought, so it says nothing about it. Feedback of a
    tenant about another's request counts for nothing.
    """
    scores: dict[str, list[float]] = {}
    for feedback in given:
        result = finished.get(feedback.request_id)
        is_own = result is not None and result.tenant == feedback.tenant
        if is_own and feedback.source != ESCALATION:
            scores.setdefault(feedback.request_id, []).append(feedback.score)
    found = []
    for request_id, several in scores.items():
        result, request = finished[request_id], requests.get(request_id)
        if request is not None and request.model == alias:
            answer = _judged(request, result, fmean(several))
            if answer is not None:
                found.append(answer)
    return found


def call_that_answered(result: InferenceFinished) -> ModelCall | None:
    """The call whose answer was handed on; None = there is none, as of hits in the cache.

    Where the last call failed, the best of the doubtful answers was handed on after all.
    """
    if not result.calls or not result.calls[-1].error_code:
        return result.calls[-1] if result.calls else None
    answered = [call for call in result.calls if not call.error_code]
    return max(answered, key=lambda call: call.confidence, default=None)


def _judged(
    request: InferenceRequested, result: InferenceFinished, score: float
) -> JudgedAnswer | None:
    """What is read of a whole answer in words; None = its calibration would not be asked."""
    call = call_that_answered(result)
    is_read = result.finish_reason == "stop" and request.operation != Operation.EMBEDDINGS
    if call is None or not is_read or call.confidence == 0:  # a hard fault settled it
        return None
    try:
        document = msgspec.json.decode(result.response)
        is_one = len(document["choices"]) == 1
        given = given_of(document, output_tokens=result.usage.output_tokens)
        asked = asked_of(request)
    except (msgspec.DecodeError, LookupError, TypeError, AttributeError):
        return None  # others may write to these topics
    if not is_one or not given.text.strip() or is_settled_by_structure(asked, given):
        return None
    return JudgedAnswer(
        prompt=asked.prompt,
        model=f"{call.provider}/{call.model}",
        task=task_of(asked.prompt),
        signals=signals_of(asked, given),
        score=score,
    )
