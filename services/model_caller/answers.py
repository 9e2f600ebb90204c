"""What of a provider's JSON is an answer, and how it is handed on.

Unknown fields pass through; ids become ours; usage is taken out for the ledger. Whatever is not
an answer raises ``Malformed``: a gateway that guesses hands on half an answer as a whole one.
"""

from typing import Any

import msgspec

from services.shared.domain.events import InferenceRequested, Operation
from services.shared.domain.ids import object_id
from services.shared.domain.money import Usage
from services.shared.domain.terminal import Answer

_PREFIXES = {Operation.CHAT: "chatcmpl", Operation.TEXT_COMPLETION: "cmpl"}
_WHOLE_OBJECTS = {Operation.CHAT: "chat.completion", Operation.TEXT_COMPLETION: "text_completion"}
_BYTES_A_TOKEN = 4
_REPLACED = frozenset({"role", "id", "type", "index", "name", "object", "finish_reason"})
DONE = b"[DONE]"


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
    except msgspec.DecodeError:
        document = None
    return ProviderError(document.get("error") if isinstance(document, dict) else None)


def usage_from(reported: Any, *, estimate: Usage) -> Usage:
    """Read a ``usage`` object; what is missing or impossible is replaced by the estimate."""
    if not isinstance(reported, dict):
        return estimate
    input_tokens = _count(reported.get("prompt_tokens"))
    output_tokens = _count(reported.get("completion_tokens", 0))
    if input_tokens is None or output_tokens is None:
        return estimate
    return Usage(
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cached_input_tokens=min(
            input_tokens, _detail(reported, "prompt_tokens_details", "cached_tokens")
        ),
        reasoning_output_tokens=min(
            output_tokens, _detail(reported, "completion_tokens_details", "reasoning_tokens")
        ),
    )


def estimated_usage(request: InferenceRequested, *, output_bytes: int) -> Usage:
    """Usage where the provider reports none: the admission's estimate, and four bytes a token."""
    return Usage(
        input_tokens=request.estimated_input_tokens,
        output_tokens=-(-output_bytes // _BYTES_A_TOKEN),
        is_estimated=True,
    )


def whole_answer(request: InferenceRequested, body: bytes) -> Answer:
    """Read an answer that came in one piece.

    Raises:
        Malformed: It is none.
        ProviderError: It is an error in the place of an answer.
    """
    operation = Operation(request.operation)
    try:
        fields = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
        if "error" in fields and fields["error"] != b"null":
            raise ProviderError(msgspec.json.decode(fields["error"]))
        answers = "data" if operation is Operation.EMBEDDINGS else "choices"
        pieces = msgspec.json.decode(fields.get(answers, b"null"), type=list[_Piece] | None)
        reported = msgspec.json.decode(fields.get("usage", b"null"))
        model = msgspec.json.decode(fields.get("model", b'""'), type=str)
    except msgspec.DecodeError as error:
        raise Malformed("the answer is not the JSON it should be") from error
    if not pieces:
        raise Malformed(f"the answer has no {answers}")
    finish_reason = pieces[0].finish_reason or ""
    if operation is not Operation.EMBEDDINGS:
        if not all(piece.finish_reason for piece in pieces):
            raise Malformed("the answer does not say why it ended")
        identity = object_id(_PREFIXES[operation], request.request_id)
        fields["id"] = msgspec.Raw(msgspec.json.encode(identity))
    estimate = estimated_usage(
        request, output_bytes=0 if operation is Operation.EMBEDDINGS else len(body)
    )
    return Answer(
        response=msgspec.json.encode(fields),
        usage=usage_from(reported, estimate=estimate),
        finish_reason=finish_reason or "stop",
        response_model=model,
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
        self._output_bytes = 0
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
        if data == DONE:
            self.is_done = True
            return None
        chunk = _chunk_of(data)
        choices = chunk["choices"]
        if chunk.get("usage"):
            self._reported = chunk["usage"]
        chunk["id"] = self._id
        self._frame = chunk
        fresh = [choice for choice in choices if self._merge(choice)]
        if not fresh:  # the usage chunk, or words after the end
            return None
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
        usage = self._usage()
        reported = self._reported if not usage.is_estimated else _usage_document(usage)
        return msgspec.json.encode({**self._frame, "choices": [], "usage": reported})

    def answer(self) -> Answer:
        """The whole answer, as if it had not been streamed.

        Raises:
            Malformed: It never ended properly.
        """
        if not self.is_whole:
            raise Malformed("the stream ended before the answer did")
        usage = self._usage()
        choices = [_whole_choice(self._choices[i], self._operation) for i in sorted(self._choices)]
        document = {
            **self._frame,
            "object": _WHOLE_OBJECTS[self._operation],
            "choices": choices,
            "usage": _usage_document(usage) if usage.is_estimated else self._reported,
        }
        model = self._frame.get("model")
        return Answer(
            response=msgspec.json.encode(document),
            usage=usage,
            finish_reason=str(choices[0]["finish_reason"]),
            response_model=model if isinstance(model, str) else "",
        )

    def _usage(self) -> Usage:
        estimate = estimated_usage(self._request, output_bytes=self._output_bytes)
        return usage_from(self._reported, estimate=estimate)

    def _merge(self, choice: Any) -> bool:
        """Add a choice's delta to the whole; False when that choice had ended before."""
        if not isinstance(choice, dict) or not isinstance(index := choice.get("index", 0), int):
            raise Malformed("a choice is not an object with an index")
        whole = self._choices.get(index)
        if whole is None:
            whole = self._choices[index] = {"index": index}
        elif whole.get("finish_reason"):
            return False
        text = choice.get("text")
        if isinstance(delta := choice.get("delta"), dict):
            text = delta.get("content")
            self.has_output |= any(value for name, value in delta.items() if name != "role")
        if isinstance(text, str):
            self._output_bytes += len(text)
        self.has_output |= bool(text or choice.get("finish_reason"))
        _accumulate(whole, choice)
        return True


def _chunk_of(data: bytes) -> dict[str, Any]:
    try:
        chunk = msgspec.json.decode(data)
    except msgspec.DecodeError as error:
        raise Malformed("a chunk is not JSON") from error
    if not isinstance(chunk, dict):
        raise Malformed("a chunk is not an object")
    if chunk.get("error"):
        raise ProviderError(chunk["error"])
    if not isinstance(chunk.get("choices"), list):
        raise Malformed("a chunk has no choices")
    return chunk


def _whole_choice(choice: dict[str, Any], operation: Operation) -> dict[str, Any]:
    if operation is Operation.TEXT_COMPLETION:
        return {"logprobs": None, **choice, "text": choice.get("text") or ""}
    delta = choice.pop("delta", {})
    message = {"role": "assistant", "content": None, **delta}
    for call in message.get("tool_calls", ()):
        call.pop("index", None)
    return {"logprobs": None, **choice, "message": message}


def _accumulate(whole: dict[str, Any], delta: dict[str, Any]) -> None:
    """Add a delta: texts are joined, lists merged by ``index`` or joined, the rest replaced."""
    for name, value in delta.items():
        if value is None:
            whole.setdefault(name, None)
            continue
        present = whole.get(name)
        match present, value:
            case str(), str() if name not in _REPLACED:
                whole[name] = present + value
            case dict(), dict():
                _accumulate(present, value)
            case None, dict():
                whole[name] = {}
                _accumulate(whole[name], value)
            case list() | None, list():
                whole[name] = _joined(present or [], value)
            case _:
                whole[name] = value


def _joined(present: list[Any], items: list[Any]) -> list[Any]:
    for item in items:
        index = item.get("index") if isinstance(item, dict) else None
        if index is None:
            present.append(item)
            continue
        same = next((it for it in present if it.get("index") == index), None)
        if same is None:
            present.append(same := {"index": index})
        _accumulate(same, item)
    return present


def _usage_document(usage: Usage) -> dict[str, int]:
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }


def _count(value: Any) -> int | None:
    is_count = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    return value if is_count else None


def _detail(usage: dict[str, Any], group: str, name: str) -> int:
    details = usage.get(group)
    value = details.get(name) if isinstance(details, dict) else None
    return _count(value) or 0
