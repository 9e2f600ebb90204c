"""The pieces of a streamed answer in OpenAI's wire format.

A stream's chunks differ in one text only, so everything around that text is rendered once.
"""

import msgspec

from services.simulator.behaviour import Operation
from services.simulator.decide import Output
from services.simulator.wire import Identity, Usage, encode_json

DONE = b"data: [DONE]\n\n"

_CHUNK_OBJECT = {Operation.CHAT: "chat.completion.chunk", Operation.COMPLETION: "text_completion"}


class ChoiceSyntax(msgspec.Struct, frozen=True):
    """How one choice is streamed.

    Attributes:
        opening: First chunk, before any text; b"" = none.
        before: What stands before the text (as JSON) in each chunk.
        between: What stands behind it, before its log probabilities.
        after: What stands behind those.
        closing: The chunk with the finish reason.
    """

    opening: bytes
    before: bytes
    between: bytes
    after: bytes
    closing: bytes

    def chunk(self, text: bytes, logprobs: bytes = b"null") -> bytes:
        """A chunk with some text and its log probabilities, both JSON."""
        return b"".join((self.before, text, self.between, logprobs, self.after))


class StreamSyntax(msgspec.Struct, frozen=True):
    """How an answer is streamed.

    Attributes:
        choices: One for each output.
        usage: The chunk with the usage; b"" = none.
        error: An error event, for streams that break.
    """

    choices: tuple[ChoiceSyntax, ...]
    usage: bytes
    error: bytes


def _json(value: object) -> bytes:
    return encode_json(value)


def _head(identity: Identity) -> bytes:
    fields = {
        "id": identity.object_id,
        "object": _CHUNK_OBJECT[identity.operation],
        "created": identity.created_s,
        "model": identity.model,
        "system_fingerprint": identity.fingerprint,
    }
    return b"data: " + _json(fields)[:-1] + b',"choices":['


def _chat_choice(index: int, output: Output, head: bytes, tail: bytes) -> ChoiceSyntax:
    start = head + b'{"index":%d,"delta":' % index
    logprobs, going = b',"logprobs":', b',"finish_reason":null}' + tail
    first: dict[str, object] = {"role": "assistant", "content": "", "refusal": None}
    before, between = start + b'{"content":', b"}" + logprobs
    if output.tool:
        function = {"name": output.tool, "arguments": ""}
        call = {"index": 0, "id": output.tool_call_id, "type": "function", "function": function}
        first = {"role": "assistant", "content": None, "tool_calls": [call]}
        before = start + b'{"tool_calls":[{"index":0,"function":{"arguments":'
        between = b"}}]}" + logprobs
    reason = _json(output.finish_reason)
    return ChoiceSyntax(
        opening=start + _json(first) + logprobs + b"null" + going,
        before=before,
        between=between,
        after=going,
        closing=start + b'{},"logprobs":null,"finish_reason":' + reason + b"}" + tail,
    )


def _text_choice(index: int, output: Output, head: bytes, tail: bytes) -> ChoiceSyntax:
    start = head + b'{"index":%d,"text":' % index
    reason = _json(output.finish_reason)
    return ChoiceSyntax(
        opening=b"",
        before=start,
        between=b',"logprobs":',
        after=b',"finish_reason":null}' + tail,
        closing=start + b'"","logprobs":null,"finish_reason":' + reason + b"}" + tail,
    )


def stream_syntax(
    outputs: tuple[Output, ...], identity: Identity, usage: Usage | None
) -> StreamSyntax:
    """Render everything of a stream but its tokens.

    Args:
        outputs: The choices.
        identity: Of the answer.
        usage: To be sent at the end; None = not asked for.
    """
    head = _head(identity)
    tail = b'],"usage":null}\n\n' if usage is not None else b"]}\n\n"
    choice = _chat_choice if identity.operation is Operation.CHAT else _text_choice
    error = {
        "message": "The server had an error while processing your request.",
        "type": "server_error",
        "param": None,
        "code": None,
    }
    return StreamSyntax(
        choices=tuple(choice(i, output, head, tail) for i, output in enumerate(outputs)),
        usage=b"" if usage is None else head + b'],"usage":' + _json(usage) + b"}\n\n",
        error=b"data: " + _json({"error": error}) + b"\n\n",
    )
