"""Whole answers in OpenAI's wire format."""

import msgspec

from services.simulator.behaviour import Behaviour, FaultKind, Operation
from services.simulator.catalogue import CATALOGUE
from services.simulator.decide import Output, Plan
from services.simulator.logprobs import Logprobs, logprobs_of
from services.simulator.seed import seed_from_parts

CREATED_S = 1_735_689_600
"""``created`` of the models in the catalogue: 2025-01-01."""

encode_json = msgspec.json.Encoder().encode

_PREFIX = {Operation.CHAT: "chatcmpl", Operation.COMPLETION: "cmpl"}
_OBJECT = {Operation.CHAT: "chat.completion", Operation.COMPLETION: "text_completion"}
_FINGERPRINTS = {base: f"fp_{seed_from_parts(base):016x}"[:13] for base in CATALOGUE}
_LIES = {"negative": -1, "zero": 0}


class Usage(msgspec.Struct):
    """Token counts as OpenAI reports them."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: dict[str, int]
    completion_tokens_details: dict[str, int]


class FunctionCall(msgspec.Struct):
    """The function that a tool call names, and its arguments as JSON."""

    name: str
    arguments: str


class ToolCall(msgspec.Struct):
    """A tool call of a whole answer."""

    id: str
    function: FunctionCall
    type: str = "function"


class AnswerMessage(msgspec.Struct, omit_defaults=True):
    """The assistant's message of a whole answer."""

    role: str
    content: str | None
    refusal: str | None
    annotations: list[object]
    tool_calls: list[ToolCall] | None = None


class ChatChoice(msgspec.Struct):
    """One choice of a chat completion."""

    index: int
    message: AnswerMessage
    finish_reason: str
    logprobs: Logprobs | None = None


class TextChoice(msgspec.Struct):
    """One choice of a completion."""

    index: int
    text: str
    finish_reason: str
    logprobs: None = None


class Completion(msgspec.Struct, omit_defaults=True):
    """The body of a whole answer."""

    id: str
    object: str
    created: int
    model: str
    choices: list[ChatChoice] | list[TextChoice]
    system_fingerprint: str
    usage: Usage | None = None


class Identity(msgspec.Struct, frozen=True):
    """What one answer carries in each of its parts.

    Attributes:
        number: Makes the id.
        created_s: Unix seconds.
        operation: What was asked.
        behaviour: Of the model asked for.
        is_wrong_model: Name another model.
    """

    number: str
    created_s: int
    operation: Operation
    behaviour: Behaviour
    is_wrong_model: bool

    @property
    def object_id(self) -> str:
        """OpenAI's id of the answer."""
        return f"{_PREFIX[self.operation]}-{self.number}"

    @property
    def model(self) -> str:
        """The model named in the answer."""
        return "some-other-model" if self.is_wrong_model else self.behaviour.model

    @property
    def fingerprint(self) -> str:
        """``system_fingerprint``: of the base model."""
        return _FINGERPRINTS[self.behaviour.base]


def usage_of(plan: Plan) -> Usage:
    """The usage that an answer reports; a lie where the plan says so."""
    output_tokens = plan.output_tokens
    lie = plan.faults.get(FaultKind.LIE_USAGE)
    if lie is not None:
        output_tokens = _LIES.get(str(lie.argument), output_tokens * 10 + 7)
    return Usage(
        prompt_tokens=plan.input_tokens,
        completion_tokens=output_tokens,
        total_tokens=plan.input_tokens + output_tokens,
        prompt_tokens_details={"cached_tokens": 0, "audio_tokens": 0},
        completion_tokens_details={"reasoning_tokens": 0, "audio_tokens": 0},
    )


def _chat_choice(index: int, output: Output, *, top_logprobs: int | None) -> ChatChoice:
    text = output.text
    message = AnswerMessage("assistant", text, None, [])
    if output.tool:
        call = ToolCall(output.tool_call_id, FunctionCall(output.tool, text))
        message = AnswerMessage("assistant", None, None, [], [call])
        return ChatChoice(index, message, output.finish_reason)
    logprobs = None if top_logprobs is None else logprobs_of(output.tokens, top=top_logprobs)
    return ChatChoice(index, message, output.finish_reason, logprobs)


def whole_body(plan: Plan, identity: Identity) -> bytes:
    """The body of an answer that is not streamed."""
    choices: list[ChatChoice] | list[TextChoice]
    if identity.operation is Operation.CHAT:
        choices = [
            _chat_choice(index, output, top_logprobs=plan.top_logprobs)
            for index, output in enumerate(plan.outputs)
        ]
    else:
        choices = [
            TextChoice(index, output.text, output.finish_reason)
            for index, output in enumerate(plan.outputs)
        ]
    return encode_json(
        Completion(
            id=identity.object_id,
            object=_OBJECT[identity.operation],
            created=identity.created_s,
            model=identity.model,
            choices=choices,
            system_fingerprint=identity.fingerprint,
            usage=None if FaultKind.NO_USAGE in plan.faults else usage_of(plan),
        )
    )
