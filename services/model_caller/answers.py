"""What of a provider's JSON is an answer, and how it is handed on.

Unknown fields pass through; ids become ours; usage is taken out for the ledger. Whatever is not
an answer raises ``Malformed``: a gateway that guesses hands on half an answer as a whole one.
"""

from typing import Any

import msgspec

from services.model_caller.deltas import accumulate, whole_choice
from services.model_caller.usage import usage_document, usage_of
from services.shared.domain.events import InferenceRequested, Operation
from services.shared.domain.ids import object_id
from services.shared.domain.money import Usage
from services.shared.domain.no_json import NO_JSON
from services.shared.domain.terminal import Answer

_PREFIXES = {Operation.CHAT: "chatcmpl", Operation.TEXT_COMPLETION: "cmpl"}
_WHOLE_OBJECTS = {Operation.CHAT: "chat.completion", Operation.TEXT_COMPLETION: "text_completion"}
_MAX_CHOICES = 4096
_MAX_STREAM_BYTES = 64 * 1024 * 1024
MAX_ANSWER_BYTES = 5 * 1024 * 1024
"""Largest answer that is handed on: it has to fit into a record."""
DONE = b"[DONE]"
_NULL = msgspec.Raw(b"null")


class Malformed(Exception):
    """The provider's bytes are no answer; the text says what is wrong, without quoting them."""


class ProviderError(Exception):
    """The provider put an error where an answer was due."""

    def __init__(self, error: Any) -> None:
        """Keep its code and message, bounded."""
        fields = error if isinstance(error, dict) else {}
        self.code = str(fields.get("code") or "")[:64]
        self.message = str(fields.get("message") or "The provider reported an error.")[:300]
        self.param = str(fields.get("param") or "")[:128]
        super().__init__(self.code)


def error_of(body: bytes) -> ProviderError:
    """Read the error object of an answer with an error status; any bytes will do."""
    try:
        document = msgspec.json.decode(body)
    except NO_JSON:
        document = None
    return ProviderError(document.get("error") if isinstance(document, dict) else None)


def whole_answer(request: InferenceRequested, body: bytes) -> Answer:
    """Read a chat or text completion that came in one piece.

    Raises:
        Malformed: It is none.
        ProviderError: It is an error in the place of an answer.
    """
    operation = Operation(request.operation)
    try:
        if not body.isascii():
            body.decode()  # what is not looked at would pass as it is
        fields = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
        if error := msgspec.json.decode(fields.get("error", _NULL)):
            raise ProviderError(error)
        pieces = msgspec.json.decode(fields.get("choices", _NULL), type=list[_Piece] | None)
        reported = msgspec.json.decode(fields.get("usage", _NULL))
        model = msgspec.json.decode(fields.get("model", _NULL), type=str | None)
        if not pieces:
            raise Malformed("the answer has no choices")
        if not all(piece.finish_reason for piece in pieces):
            raise Malformed("the answer does not say why it ended")
        usage = usage_of(request, reported, lambda: msgspec.json.decode(fields["choices"]))
    except NO_JSON as error:
        raise Malformed("the answer is not the JSON it should be") from error
    identity = object_id(_PREFIXES[operation], request.request_id)
    fields["id"] = msgspec.Raw(msgspec.json.encode(identity))
    if usage.is_estimated:
        fields["usage"] = msgspec.Raw(msgspec.json.encode(usage_document(usage)))
    return Answer(
        response=msgspec.json.encode(fields),
        usage=usage,
        finish_reason=pieces[0].finish_reason or "",
        response_model=model or "",
    )


class _Piece(msgspec.Struct):
    finish_reason: str | None = None


class StreamedAnswer:
    """An answer that comes in chunks: what to hand on, and the whole of it at the end.

    Attributes:
        is_done: The provider said that nothing more comes.
        has_output: A caller has seen, or is about to see, some of the answer.
    """

    def __init__(self, request: InferenceRequested) -> None:
        """Start with nothing received."""
        self._request = request
        self._operation = Operation(request.operation)
        self._id = object_id(_PREFIXES[self._operation], request.request_id)
        self._frame: dict[str, Any] = {}
        self._choices: dict[int, dict[str, Any]] = {}
        self._reported: Any = None
        self._received_bytes = 0
        self.is_done = False
        self.has_output = False

    @property
    def is_whole(self) -> bool:
        """Whether every choice said why it ended."""
        return bool(self._choices) and all(
            choice.get("finish_reason") for choice in self._choices.values()
        )

    def take(self, data: bytes) -> bytes | None:
        """Take the data of one event; return the fragment to hand on, or None.

        Raises:
            Malformed: It is no chunk of an answer.
            ProviderError: The provider breaks off with an error.
        """
        if self.is_done:
            return None
        if data == DONE:
            self.is_done = True
            return None
        self._received_bytes += len(data)
        if self._received_bytes > _MAX_STREAM_BYTES:
            raise Malformed("the stream does not end")
        try:
            return self._taken(msgspec.json.decode(data))
        except NO_JSON as error:
            raise Malformed("a chunk is not JSON") from error

    def _taken(self, chunk: Any) -> bytes | None:
        if not isinstance(chunk, dict):
            raise Malformed("a chunk is not an object")
        if chunk.get("error"):
            raise ProviderError(chunk["error"])
        choices = chunk.get("choices")
        if not isinstance(choices, list):
            raise Malformed("a chunk has no choices")
        if chunk.get("usage"):
            self._reported = chunk["usage"]
        fresh = [choice for choice in choices if self._merge(choice)]
        if not fresh:  # the usage chunk, or words after the end
            return None
        chunk["id"] = self._id
        self._frame = chunk
        chunk["choices"] = fresh
        if self._request.include_usage:
            chunk["usage"] = None
        else:
            chunk.pop("usage", None)
        return msgspec.json.encode(chunk)

    def usage_fragment(self) -> bytes | None:
        """The last fragment of a stream whose caller wants its usage."""
        if not self._request.include_usage:
            return None
        usage = self.usage()
        reported = self._reported if not usage.is_estimated else usage_document(usage)
        return msgspec.json.encode({**self._frame, "choices": [], "usage": reported})

    def answer(self) -> Answer:
        """The whole answer, as if it had not been streamed.

        Raises:
            Malformed: It never ended properly.
        """
        if not self.is_whole:
            raise Malformed("the stream ended before the answer did")
        usage = self.usage()
        choices = [whole_choice(self._choices[i], self._operation) for i in sorted(self._choices)]
        document = {
            **self._frame,
            "object": _WHOLE_OBJECTS[self._operation],
            "choices": choices,
            "usage": usage_document(usage) if usage.is_estimated else self._reported,
        }
        document.pop("obfuscation", None)  # padding of one chunk
        try:
            response = msgspec.json.encode(document)
        except RecursionError as error:
            raise Malformed("the answer is nested too deeply") from error
        if len(response) > MAX_ANSWER_BYTES:
            raise Malformed(f"the answer has more than {MAX_ANSWER_BYTES} bytes")
        model = self._frame.get("model")
        return Answer(
            response=response,
            usage=usage,
            finish_reason=choices[0]["finish_reason"],
            response_model=model if isinstance(model, str) else "",
        )

    def usage(self) -> Usage:
        """The tokens of what came so far: as reported, else estimated."""
        return usage_of(self._request, self._reported, lambda: list(self._choices.values()))

    def _merge(self, choice: Any) -> bool:
        """Add a choice's delta to the whole; False when that choice had ended before."""
        index = _index_of(choice)
        whole = self._choices.get(index)
        if whole is None:
            whole = self._choices[index] = {"index": index}
        elif whole.get("finish_reason"):
            return False
        text, reason, delta = choice.get("text"), choice.get("finish_reason"), choice.get("delta")
        if isinstance(delta, dict):
            text = delta.get("content")
            if not self.has_output:
                self.has_output = any(value for name, value in delta.items() if name != "role")
        elif delta is not None:
            raise Malformed("a delta is not an object")
        if not isinstance(text, str | None) or not isinstance(reason, str | None):
            raise Malformed("a text is not a text")
        self.has_output |= bool(text or reason)
        accumulate(whole, choice)
        return True


def _index_of(choice: Any) -> int:
    index = choice.get("index", 0) if isinstance(choice, dict) else None
    if type(index) is not int or not 0 <= index < _MAX_CHOICES:
        raise Malformed("a choice is not an object with an index")
    return index
