"""Whether an answer is handed on, or the next target is asked. Pure."""

from collections.abc import Mapping
from typing import Any

import msgspec

from services.model_caller.cascade.faults import fault_of_text, hard_fault
from services.shared.domain.cascade.asked import Asked
from services.shared.domain.cascade.calibration import Calibration
from services.shared.domain.cascade.signals import (
    Given,
    given_of,
    is_settled_by_structure,
    signals_of,
    task_of,
)

NOT_JUDGED = -1.0
"""The confidence of an answer that was not scored."""


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """How answers of one alias are judged.

    Attributes:
        threshold: Least probability that an answer is good for it to be handed on.
        calibration: How signals become a probability.
    """

    threshold: float
    calibration: Calibration


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What an answer is worth.

    Attributes:
        confidence: Probability that it is good, 0..1; -1 = it was not scored.
        is_accepted: Whether it is handed on.
        reason: Why, for people.
    """

    confidence: float
    is_accepted: bool
    reason: str


def judge(
    document: Mapping[str, Any], asked: Asked, policy: Policy, *, model: str, output_tokens: int = 0
) -> Verdict:
    """Judge a whole answer.

    Args:
        document: The answer, decoded; its first choice is judged.
        asked: What was asked for.
        policy: How it is judged.
        model: Who answered, as ``provider/model``.
        output_tokens: Tokens of the answer; 0 = not known.
    """
    given = given_of(document, output_tokens=output_tokens)
    fault = hard_fault(asked, given)
    if fault is not None:
        return Verdict(confidence=0.0, is_accepted=False, reason=f"hard fault: {fault}")
    if is_settled_by_structure(asked, given):
        return Verdict(confidence=NOT_JUDGED, is_accepted=True, reason="valid structure")
    return _weighed(asked, given, policy, model, is_whole=True)


def judge_prefix(given: Given, asked: Asked, policy: Policy, *, model: str) -> Verdict:
    """Judge the beginning of an answer; what comes after it nobody judges.

    Args:
        given: The beginning.
        asked: What was asked for.
        policy: How it is judged.
        model: Who answers, as ``provider/model``.
    """
    if given.refusal:
        return Verdict(confidence=0.0, is_accepted=False, reason="hard fault: refusal")
    if given.calls or not given.text:
        return Verdict(confidence=NOT_JUDGED, is_accepted=True, reason="no text to judge")
    fault = fault_of_text(asked, given.text)
    if fault is not None:
        return Verdict(confidence=0.0, is_accepted=False, reason=f"hard fault: {fault}")
    return _weighed(asked, given, policy, model, is_whole=False)


def _weighed(asked: Asked, given: Given, policy: Policy, model: str, *, is_whole: bool) -> Verdict:
    part, task = "whole" if is_whole else "prefix", task_of(asked.prompt)
    fit = policy.calibration.fit_for(model, task, "whole" if is_whole else "prefix")
    if fit is None:
        return Verdict(confidence=NOT_JUDGED, is_accepted=True, reason=f"no fit for a {part}")
    signals = signals_of(asked, given, is_whole=is_whole)
    confidence = round(fit.probability(signals), 4)
    weights = fit.weights
    telling = sorted(
        (name for name in signals if weights.get(name)),
        key=lambda name: weights[name] * signals[name],
    )
    against = [name for name in telling if weights[name] * signals[name] < 0][:2]
    because = f"; against it: {', '.join(against)}" if against else ""
    is_accepted = confidence >= policy.threshold
    word = "reaches" if is_accepted else "is below"
    reason = f"{task}, {part}: {confidence:.2f} {word} {policy.threshold:g}{because}"
    return Verdict(confidence=confidence, is_accepted=is_accepted, reason=reason)
