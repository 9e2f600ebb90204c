"""The form of a (legacy) text completion request."""

from typing import Any

from services.shared.domain.admission.common_fields import COMMON, SAMPLING, stream_options_agree
from services.shared.domain.admission.faults import Fault, wrong_value
from services.shared.domain.admission.form import Form
from services.shared.domain.admission.inputs import count_of_inputs, inputs
from services.shared.domain.admission.limits import MAX_CHOICES, MAX_INPUTS
from services.shared.domain.admission.rules import boolean, integer, text

_MAX_LOGPROBS = 5


def choice_count(document: dict[str, Any]) -> int:
    """Choices of an answer: ``n`` for every prompt."""
    choices: int = document.get("n") or 1
    return choices * count_of_inputs(document.get("prompt"))


def choices_agree(document: dict[str, Any]) -> Fault | None:
    """The choices of all prompts are bounded, and the best are chosen from no fewer."""
    if choice_count(document) > MAX_INPUTS:
        problem = f"expected at most {MAX_INPUTS} choices over all prompts"
        return wrong_value(problem, code="out_of_range").within("n")
    best_of = document.get("best_of")
    if best_of is not None and best_of < (document.get("n") or 1):
        return wrong_value("expected at least 'n'", code="out_of_range").within("best_of")
    return None


TEXT_COMPLETION = Form(
    fields={
        **COMMON,
        **SAMPLING,
        "prompt": inputs,
        "suffix": text,
        "echo": boolean,
        "logprobs": integer(0, _MAX_LOGPROBS),
        "best_of": integer(1, MAX_CHOICES),
    },
    required=("model",),  # without a prompt the model begins a new document
    agreements=(stream_options_agree, choices_agree),
)
