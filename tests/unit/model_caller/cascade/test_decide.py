"""Whether answers are handed on."""

from typing import Any

from services.model_caller.cascade.decide import NOT_JUDGED, Policy, judge, judge_prefix
from services.shared.domain.cascade.asked import Asked
from services.shared.domain.cascade.calibration import Calibration, Fit
from services.shared.domain.cascade.signals import Given

FIT = Fit(intercept=2.0, weights={"hedges": -1.5, "has_conclusion": 0.5})
POLICY = Policy(threshold=0.7, calibration=Calibration([FIT]))
BOTH = Policy(
    threshold=0.7,
    calibration=Calibration([FIT, Fit(part="prefix", intercept=2.0, weights={"hedges": -3.0})]),
)
ASKED = Asked(prompt="Explain the tides.")


def document(content: str | None, **message: Any) -> dict[str, Any]:
    """A chat answer."""
    return {
        "choices": [{"message": {"content": content, **message}, "finish_reason": "stop"}],
    }


def test_a_probable_answer_is_accepted() -> None:
    """With its confidence and a reason for people."""
    verdict = judge(document("It is the moon."), ASKED, POLICY, model="first/one")
    assert verdict.is_accepted
    assert verdict.confidence == 0.8808
    assert verdict.reason == "text, whole: 0.88 reaches 0.7"


def test_a_doubtful_one_is_not() -> None:
    """The reason names what spoke against it."""
    verdict = judge(document("Perhaps the moon. Therefore."), ASKED, POLICY, model="first/one")
    assert not verdict.is_accepted or verdict.confidence >= 0.7
    doubtful = judge(document("Maybe. I think, perhaps."), ASKED, POLICY, model="first/one")
    assert not doubtful.is_accepted
    assert doubtful.reason.endswith("is below 0.7; against it: hedges")


def test_a_hard_fault_is_worth_nothing() -> None:
    """Not even at a threshold of 0."""
    policy = Policy(threshold=0.0, calibration=POLICY.calibration)
    verdict = judge(document(""), ASKED, policy, model="first/one")
    assert (verdict.confidence, verdict.is_accepted) == (0.0, False)
    assert verdict.reason == "hard fault: empty"


def test_what_is_for_machines_is_judged_by_its_structure() -> None:
    """Valid JSON and valid calls are accepted without a score."""
    verdict = judge(document("{}"), Asked(wants_json=True), POLICY, model="first/one")
    assert (verdict.confidence, verdict.is_accepted) == (NOT_JUDGED, True)


def test_beginnings_have_a_fit_of_their_own() -> None:
    """Without one they pass unjudged, and it is said."""
    given = Given(text="I think the moon")
    unjudged = judge_prefix(given, ASKED, POLICY, model="first/one")
    assert (unjudged.confidence, unjudged.is_accepted) == (NOT_JUDGED, True)
    assert unjudged.reason == "no fit for a prefix"
    judged = judge_prefix(given, ASKED, BOTH, model="first/one")
    assert not judged.is_accepted


def test_beginnings_can_settle_it() -> None:
    """A marked refusal and a loop do; a call of a tool cannot be judged before its end."""
    refused = judge_prefix(Given(text="", refusal="No."), ASKED, BOTH, model="a/b")
    looping = judge_prefix(Given(text="moon " * 400), ASKED, BOTH, model="a/b")
    calling = judge_prefix(Given(text="", calls=(("", ""),)), ASKED, BOTH, model="a/b")
    assert (refused.confidence, looping.confidence, calling.confidence) == (0.0, 0.0, NOT_JUDGED)
    assert [it.is_accepted for it in (refused, looping, calling)] == [False, False, True]
