"""Requests in OpenAI's wire format, as far as a simulated model looks at them.

Fields that are not named here are accepted and ignored, such as ``user`` and the ``logprobs`` of
text completions.
"""

from typing import Annotated, Literal

import msgspec

from services.simulator.behaviour import Operation

Count = Annotated[int, msgspec.Meta(ge=1, le=10_000_000)]
Choices = Annotated[int, msgspec.Meta(ge=1, le=128)]
Temperature = Annotated[float, msgspec.Meta(ge=0, le=2)]
TopP = Annotated[float, msgspec.Meta(ge=0, le=1)]
Stops = str | Annotated[list[str], msgspec.Meta(max_length=4)] | None
Role = Literal["system", "developer", "user", "assistant", "tool", "function"]
TokenId = Annotated[int, msgspec.Meta(ge=0)]
TopLogprobs = Annotated[int, msgspec.Meta(ge=0, le=20)]


class Part(msgspec.Struct):
    """One part of a message's content; images count, their pixels do not."""

    type: Literal["text", "image_url", "input_audio", "file", "refusal"]
    text: str = ""


class Message(msgspec.Struct):
    """One message of a conversation."""

    role: Role
    content: str | list[Part] | None = None
    tool_calls: msgspec.Raw = msgspec.Raw()


class Function(msgspec.Struct):
    """A function that the model may call."""

    name: str
    parameters: dict[str, object] | None = None


class Tool(msgspec.Struct, tag_field="type", tag="function"):
    """A tool that is a function."""

    function: Function


class CustomTool(msgspec.Struct, tag_field="type", tag="custom"):
    """A tool that takes free text; accepted, and never called."""

    custom: "ChosenFunction"


class ChosenFunction(msgspec.Struct):
    """The function's name inside a tool choice."""

    name: str


class ToolChoice(msgspec.Struct, tag_field="type", tag="function"):
    """A forced tool."""

    function: ChosenFunction


class Allowed(msgspec.Struct):
    """Some of the tools, by name, and whether one of them has to be called."""

    mode: Literal["auto", "required"]
    tools: list[Tool | CustomTool]


class AllowedTools(msgspec.Struct, tag_field="type", tag="allowed_tools"):
    """A choice among some of the tools."""

    allowed_tools: Allowed


class NamedSchema(msgspec.Struct):
    """A JSON Schema and its name."""

    name: str
    schema: dict[str, object]


class ResponseFormat(msgspec.Struct):
    """Whether the answer shall be JSON."""

    type: Literal["text", "json_object", "json_schema"] = "text"
    json_schema: NamedSchema | None = None


class StreamOptions(msgspec.Struct):
    """Options of a stream."""

    include_usage: bool | None = None


class ModelOnly(msgspec.Struct):
    """What is read of a request that may be wrong elsewhere."""

    model: str = ""


class ChatRequest(msgspec.Struct, kw_only=True):
    """``POST /v1/chat/completions``."""

    model: str
    messages: Annotated[list[Message], msgspec.Meta(min_length=1)]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: Choices | None = None
    max_tokens: Count | None = None
    max_completion_tokens: Count | None = None
    stop: Stops = None
    seed: int | None = None
    temperature: Temperature | None = None
    top_p: TopP | None = None
    tools: msgspec.Raw = msgspec.Raw()
    tool_choice: Literal["none", "auto", "required"] | ToolChoice | AllowedTools | None = None
    logprobs: bool | None = None
    top_logprobs: TopLogprobs | None = None
    response_format: ResponseFormat | None = None


class CompletionRequest(msgspec.Struct, kw_only=True):
    """``POST /v1/completions``."""

    model: str
    prompt: str | list[str | TokenId | list[TokenId]]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: Choices | None = None
    max_tokens: Count | None = None
    stop: Stops = None
    seed: int | None = None
    temperature: Temperature | None = None
    top_p: TopP | None = None


class EmbeddingRequest(msgspec.Struct, kw_only=True):
    """``POST /v1/embeddings``."""

    model: str
    input: str | list[str | TokenId | list[TokenId]]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Count | None = None


Request = ChatRequest | CompletionRequest | EmbeddingRequest

_DECODERS: dict[Operation, msgspec.json.Decoder[Request]] = {
    Operation.CHAT: msgspec.json.Decoder(ChatRequest),
    Operation.COMPLETION: msgspec.json.Decoder(CompletionRequest),
    Operation.EMBEDDING: msgspec.json.Decoder(EmbeddingRequest),
}
_TOOLS = msgspec.json.Decoder(list[Tool | CustomTool] | None)
_MODEL = msgspec.json.Decoder(ModelOnly)


def request_from_body(operation: Operation, body: bytes) -> Request:
    """Decode a request.

    Raises:
        msgspec.DecodeError: No JSON, or not this operation's. Not retriable.
    """
    return _DECODERS[operation].decode(body)


def model_from_body(body: bytes) -> str:
    """The model that a request names, also of one that is wrong elsewhere; "" = none."""
    try:
        return _MODEL.decode(body).model
    except msgspec.DecodeError:
        return ""


def tools_of(request: ChatRequest) -> list[Tool]:
    """The functions among the tools of a request.

    Raises:
        msgspec.DecodeError: They are not tools. Not retriable.
    """
    if not request.tools:
        return []
    try:
        tools = _TOOLS.decode(request.tools) or []
    except msgspec.ValidationError as error:
        # the tools are decoded by themselves; say where they are in the request
        raise msgspec.ValidationError(str(error).replace("`$", "`$.tools", 1)) from None
    return [tool for tool in tools if isinstance(tool, Tool)]
