"""What a request asks for, the same for every operation."""

from collections.abc import Mapping

import msgspec

from services.simulator.behaviour import Behaviour
from services.simulator.refusals import Refusal, invalid
from services.simulator.requests import (
    AllowedTools,
    ChatRequest,
    CompletionRequest,
    EmbeddingRequest,
    Function,
    Message,
    Request,
    Tool,
    ToolChoice,
    tools_of,
)
from services.simulator.seed import seed_from_parts
from services.simulator.text import (
    BYTES_PER_TOKEN,
    TOKENS_PER_IMAGE,
    TOKENS_PER_MESSAGE,
    TOKENS_PER_REPLY,
    estimated_tokens,
)

MAX_INPUTS = 2_048
DEFAULT_COMPLETION_TOKENS = 16
"""OpenAI's own default of ``max_tokens`` on ``/v1/completions``."""

_ANY_OBJECT: dict[str, object] = {
    "type": "object",
    "properties": {
        "answer": {"type": "string", "minLength": 40},
        "confidence": {"type": "number", "minimum": 0, "maximum": 1},
        "steps": {"type": "array", "items": {"type": "string"}, "minItems": 2},
    },
}
_NO_ARGUMENTS: dict[str, object] = {"type": "object", "properties": {}}


class Input(msgspec.Struct, frozen=True):
    """One input of a call: a conversation, a prompt or a text to embed.

    Attributes:
        text: What it says.
        tokens: Its estimated length.
        seed: Decides its answer; the same whatever else is in the call.
    """

    text: str
    tokens: int
    seed: int


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A request, understood.

    Attributes:
        inputs: At least one.
        seed: Of the whole call.
        stream: Whether the answer is streamed.
        include_usage: Whether the stream ends with the usage.
        choices: Answers wanted for each input.
        max_output_tokens: Limit of each answer; None = the context window.
        stops: Texts that end an answer.
        tool: Function to call, or "".
        schema: What the answer's JSON (a tool's arguments, or all of it) must satisfy.
        top_logprobs: Likeliest tokens to tell with each; None = no log probabilities.
        last_user_text: Last message of a conversation if a user's, else "".
        dimensions: Wanted length of embeddings; None = the model's.
        is_base64: Encoding of embeddings.
    """

    inputs: tuple[Input, ...]
    seed: int
    stream: bool = False
    include_usage: bool = False
    choices: int = 1
    max_output_tokens: int | None = None
    stops: tuple[str, ...] = ()
    tool: str = ""
    schema: dict[str, object] | None = None
    top_logprobs: int | None = None
    last_user_text: str = ""
    dimensions: int | None = None
    is_base64: bool = False

    @property
    def input_tokens(self) -> int:
        """Estimated tokens of all inputs."""
        return sum(one.tokens for one in self.inputs)


def _message_text(message: Message) -> str:
    content = message.content
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    return "\n".join(part.text for part in content if part.type == "text")


def _message_tokens(message: Message, text: str) -> int:
    tokens = TOKENS_PER_MESSAGE + estimated_tokens(text)
    if isinstance(message.content, list):
        tokens += TOKENS_PER_IMAGE * sum(part.type != "text" for part in message.content)
    return tokens + len(bytes(message.tool_calls)) // BYTES_PER_TOKEN


def _wanted_json(
    request: ChatRequest, *, last_user_text: str
) -> tuple[str, dict[str, object] | None] | Refusal:
    """The tool to call (or "") and the schema to satisfy (or None)."""
    offered = {tool.function.name: tool.function for tool in tools_of(request)}
    narrowed = _narrowed(request, offered)
    if isinstance(narrowed, Refusal):
        return narrowed
    choice, functions = narrowed
    match choice:
        case ToolChoice(function=chosen):
            if chosen.name not in functions:
                return invalid(f"Tool choice `{chosen.name[:64]}` is no tool.", param="tool_choice")
            name = chosen.name
        case "required":
            if not functions:
                return invalid("Tool choice `required` needs tools.", param="tool_choice")
            name = next((n for n in functions if n in last_user_text), next(iter(functions)))
        case "none":
            name = ""
        case _:
            name = next((n for n in functions if n in last_user_text), "")
    if name:
        return name, functions[name].parameters or _NO_ARGUMENTS
    return _wanted_format(request)


def _narrowed(
    request: ChatRequest, functions: Mapping[str, Function]
) -> tuple[ToolChoice | str | None, Mapping[str, Function]] | Refusal:
    """The choice, and the functions that it is among: all, or those that are allowed."""
    choice = request.tool_choice
    if not isinstance(choice, AllowedTools):
        return choice, functions
    names = [tool.function.name for tool in choice.allowed_tools.tools if isinstance(tool, Tool)]
    for name in names:
        if name not in functions:
            return invalid(f"Allowed tool `{name[:64]}` is no tool.", param="tool_choice")
    return choice.allowed_tools.mode, {name: functions[name] for name in names}


def _wanted_format(request: ChatRequest) -> tuple[str, dict[str, object] | None] | Refusal:
    wanted = request.response_format
    if wanted is None or wanted.type == "text":
        return "", None
    if wanted.type == "json_object":
        return "", _ANY_OBJECT
    if wanted.json_schema is None:
        return invalid(
            "Missing required parameter: 'response_format.json_schema'.",
            param="response_format.json_schema",
            code="missing_required_parameter",
        )
    return "", wanted.json_schema.schema


def _stops(stop: str | list[str] | None) -> tuple[str, ...]:
    if stop is None:
        return ()
    return tuple(text for text in ([stop] if isinstance(stop, str) else stop) if text)


def _asked_of_chat(request: ChatRequest, behaviour: Behaviour) -> Asked | Refusal:
    texts = [_message_text(message) for message in request.messages]
    last = request.messages[-1]
    last_user_text = texts[-1] if last.role == "user" else ""
    wanted = _wanted_json(request, last_user_text=last_user_text)
    if isinstance(wanted, Refusal):
        return wanted
    if request.top_logprobs and not request.logprobs:
        return invalid(
            "'top_logprobs' is only allowed together with 'logprobs'.", param="top_logprobs"
        )
    tool, schema = wanted
    tokens = sum(map(_message_tokens, request.messages, texts)) + TOKENS_PER_REPLY
    tokens += len(bytes(request.tools)) // BYTES_PER_TOKEN
    roles = (message.role for message in request.messages)
    said = [f"{role}\0{text}" for role, text in zip(roles, texts, strict=True)]
    seed = seed_from_parts(behaviour.base, str(request.seed), *said)
    options = request.stream_options
    return Asked(
        inputs=(Input(text="\n".join(texts), tokens=tokens, seed=seed),),
        seed=seed,
        stream=request.stream is True,
        include_usage=options is not None and options.include_usage is True,
        choices=request.n or 1,
        max_output_tokens=request.max_completion_tokens or request.max_tokens,
        stops=_stops(request.stop),
        tool=tool,
        schema=schema,
        top_logprobs=request.top_logprobs or 0 if request.logprobs else None,
        last_user_text=last_user_text,
    )


def _inputs(
    value: str | list[str | int | list[int]], behaviour: Behaviour, *, param: str, seed: int | None
) -> tuple[Input, ...] | Refusal:
    """Read a text, a list of texts, one list of tokens, or a list of such."""
    items: list[str | int | list[int]] = [value] if isinstance(value, str) else value
    token_ids = [item for item in items if isinstance(item, int)]
    if token_ids and len(token_ids) == len(items):
        items = [token_ids]
    if not 1 <= len(items) <= MAX_INPUTS or len({type(item) for item in items}) != 1:
        return invalid(
            f"'{param}' must be a text, 1 to {MAX_INPUTS} texts, tokens, or lists of tokens.",
            param=param,
        )
    if not all(items):
        return invalid(f"'{param}' cannot be an empty text.", param=param)
    return tuple(_input(item, base=behaviour.base, seed=seed) for item in items)


def _input(item: str | int | list[int], *, base: str, seed: int | None) -> Input:
    if isinstance(item, list):
        text = " ".join(f"t{token}" for token in item)
        tokens = len(item)
    else:
        text = str(item)
        tokens = estimated_tokens(text)
    return Input(text=text, tokens=tokens, seed=seed_from_parts(base, str(seed), text))


def _asked_of_completion(request: CompletionRequest, behaviour: Behaviour) -> Asked | Refusal:
    inputs = _inputs(request.prompt, behaviour, param="prompt", seed=request.seed)
    if isinstance(inputs, Refusal):
        return inputs
    if len(inputs) * (request.n or 1) > MAX_INPUTS:
        return invalid(f"At most {MAX_INPUTS} choices in one call.", param="n")
    options = request.stream_options
    return Asked(
        inputs=inputs,
        seed=_seed_of_all(inputs),
        stream=request.stream is True,
        include_usage=options is not None and options.include_usage is True,
        choices=request.n or 1,
        max_output_tokens=request.max_tokens or DEFAULT_COMPLETION_TOKENS,
        stops=_stops(request.stop),
    )


def _asked_of_embedding(request: EmbeddingRequest, behaviour: Behaviour) -> Asked | Refusal:
    inputs = _inputs(request.input, behaviour, param="input", seed=None)
    if isinstance(inputs, Refusal):
        return inputs
    if request.dimensions is not None and request.dimensions > behaviour.dimensions:
        return invalid(
            f"'dimensions' must be at most {behaviour.dimensions} for this model.",
            param="dimensions",
        )
    return Asked(
        inputs=inputs,
        seed=_seed_of_all(inputs),
        dimensions=request.dimensions,
        is_base64=request.encoding_format == "base64",
    )


def _seed_of_all(inputs: tuple[Input, ...]) -> int:
    if len(inputs) == 1:
        return inputs[0].seed
    return seed_from_parts(*(f"{one.seed:016x}" for one in inputs))


def asked_from_request(request: Request, behaviour: Behaviour) -> Asked | Refusal:
    """Understand a request to a model.

    Raises:
        msgspec.DecodeError: Its tools are not tools. Not retriable.
    """
    match request:
        case ChatRequest():
            return _asked_of_chat(request, behaviour)
        case CompletionRequest():
            return _asked_of_completion(request, behaviour)
        case EmbeddingRequest():
            return _asked_of_embedding(request, behaviour)
