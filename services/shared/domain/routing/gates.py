"""What a target is asked before it may be chosen, and what callers are told if none passes."""

from collections.abc import Sequence
from enum import IntEnum

import msgspec

from services.shared.domain.configuration import Modality, ModelTarget
from services.shared.domain.errors import PublicError
from services.shared.domain.events import InferenceRequested, Operation
from services.shared.domain.model_facts import ModelFacts

_SHOWN_NAME_CHARACTERS = 64
_INPUT_FIELDS: dict[str, str] = {Operation.CHAT: "messages", Operation.TEXT_COMPLETION: "prompt"}


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """A target of an alias, and what is known of it.

    Attributes:
        target: The target as configured.
        model: The provider's own name of the model.
        facts: What is known of it.
    """

    target: ModelTarget
    model: str
    facts: ModelFacts

    @property
    def name(self) -> str:
        """Provider and model, for people and for hashing."""
        return f"{self.target.provider}/{self.model}"


class Gate(IntEnum):
    """What a target is asked, in this order; the refusal names the last gate that one reached."""

    PRICE = 0
    TIER = 1
    TOOLS = 2
    MODALITY = 3
    OUTPUT = 4
    CONTEXT = 5


def gate_that_stops(request: InferenceRequested, candidate: Candidate) -> Gate | None:
    """The first gate that a target does not pass for a request; None when it may serve it."""
    return next((gate for gate, is_stopped in _asked(request, candidate) if is_stopped), None)


def gates_that_stop(request: InferenceRequested, candidate: Candidate) -> list[Gate]:
    """All gates that a target does not pass for a request."""
    return [gate for gate, is_stopped in _asked(request, candidate) if is_stopped]


def _asked(request: InferenceRequested, candidate: Candidate) -> Sequence[tuple[Gate, object]]:
    """Each gate, and whether it stops a target.

    What is not known of a model stops nothing, except its price: an unknown model is never free.
    Embeddings have a window for each of their inputs, which only the provider can count.
    """
    facts, tiers, modalities = (
        candidate.facts,
        candidate.target.tiers,
        candidate.facts.input_modalities,
    )
    needed_tokens = 0 if request.operation == Operation.EMBEDDINGS else tokens_needed(request)
    return (
        (Gate.PRICE, not facts.prices),
        (Gate.TIER, tiers and request.tier not in tiers),
        (Gate.TOOLS, request.has_tools and facts.tools is False),
        (
            Gate.MODALITY,
            request.has_images and modalities is not None and Modality.IMAGE not in modalities,
        ),
        (Gate.OUTPUT, 0 < facts.max_output_tokens < request.max_output_tokens),
        (Gate.CONTEXT, 0 < facts.context_window_tokens < needed_tokens),
    )


def tokens_needed(request: InferenceRequested) -> int:
    """Tokens that must fit into the context window: the input and the most output asked for."""
    return request.estimated_input_tokens + request.max_output_tokens


def refusal(request: InferenceRequested, stopped: Sequence[tuple[Candidate, Gate]]) -> PublicError:
    """Why no target serves a request: the gate that the one that came farthest did not pass."""
    model = shown(request.model)
    last = max(gate for _, gate in stopped)
    facts = [candidate.facts for candidate, gate in stopped if gate is last]
    match last:
        case Gate.PRICE:
            return _error(
                "model_not_found",
                f"The model '{model}' has no known price, so it is not served. Its operator can "
                "set one under 'prices', or mark its provider as free.",
                param="model",
            )
        case Gate.TIER:
            return _error(
                "model_not_found",
                f"The model '{model}' is not available to your service tier.",
                param="model",
            )
        case Gate.TOOLS:
            return _error(
                "unsupported_parameter", f"The model '{model}' cannot call tools.", param="tools"
            )
        case Gate.MODALITY:
            return _error(
                "unsupported_modality",
                f"The model '{model}' does not take images.",
                param="messages",
            )
        case Gate.OUTPUT:
            most = max(fact.max_output_tokens for fact in facts)
            return _error(
                "invalid_value",
                f"max_tokens is too large: {request.max_output_tokens}. The model '{model}' "
                f"supports at most {most} output tokens.",
                param="max_tokens",
            )
        case _:  # the last one, ``Gate.CONTEXT``
            most = max(fact.context_window_tokens for fact in facts)
            return _error(
                "context_length_exceeded",
                f"This model's maximum context length is {most} tokens. Your request needs about "
                f"{tokens_needed(request)}: {request.estimated_input_tokens} in the input and "
                f"{request.max_output_tokens} for the output. Shorten it or allow less output.",
                param=_INPUT_FIELDS.get(request.operation, "input"),
            )


def _error(code: str, message: str, *, param: str) -> PublicError:
    return PublicError(code=code, message=message, param=param)


def shown(text: str) -> str:
    """What a message may repeat of the caller's own text."""
    return text[:_SHOWN_NAME_CHARACTERS]
