"""Streams that are held back."""

import json
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from services.model_caller.chunks import ChunkStream
from services.model_caller.held import Beginning, Held, Withdrawn, fragments_of, pour
from services.shared.domain.emit import Emit
from services.shared.domain.errors import PublicError
from services.shared.domain.events import ResultChunk
from tests.support.example_events import requested


class Client:
    """Somebody who reads a stream.

    Attributes:
        chunks: What he got.
    """

    def __init__(self) -> None:
        """Nothing came yet."""
        self.chunks: list[ResultChunk] = []

    def stream(self) -> ChunkStream:
        """His stream."""

        async def send(emit: Emit) -> object:
            assert isinstance(emit.event, ResultChunk)
            self.chunks.append(emit.event)
            return None

        return ChunkStream(
            requested(reply_partition=3),
            run="run-1",
            attempt=1,
            headers={},
            gather_s=0.025,
            send=send,  # type: ignore[arg-type]  # nobody awaits it here
        )

    @property
    def words(self) -> str:
        """What he has read."""
        fragments = [json.loads(it) for chunk in self.chunks for it in chunk.payload.split() if it]
        return "".join(it["choices"][0]["delta"].get("content", "") for it in fragments)


def piece(text: str, **fields: object) -> bytes:
    """A fragment of one choice, without blanks."""
    choice = {"index": 0, "delta": {"content": text}, **fields}
    return msgspec.json.encode({"choices": [choice]})


async def test_everything_is_held_back() -> None:
    """Until it is poured out, in order."""
    held, client = Held(), Client()
    await held.delta(piece("De"))
    await held.end(piece("ep"))
    assert not held.is_shown
    stream = client.stream()
    await pour(held.fragments, stream)
    await stream.end()
    assert client.words == "Deep"
    assert client.chunks[-1].kind == "end"


async def test_a_good_beginning_opens_the_stream() -> None:
    """What was held goes first; what comes after goes straight on."""
    client = Client()
    seen: list[str] = []

    def lets_through(beginning: Beginning) -> bool:
        seen.append(beginning.text)
        return True

    held = Held(prefix_tokens=1, lets_through=lets_through, open_stream=client.stream)
    await held.delta(piece("De"))
    assert client.chunks == []
    await held.delta(piece("ep"))
    assert held.is_shown
    await held.delta(piece(",blue"))
    await held.end()
    assert client.words == "Deep,blue"
    assert seen == ["Deep"]


async def test_a_doubtful_beginning_is_withdrawn() -> None:
    """Nobody sees it."""
    client = Client()
    held = Held(prefix_tokens=1, lets_through=lambda _: False, open_stream=client.stream)
    with pytest.raises(Withdrawn):
        await held.delta(piece("Perhaps"))
    await held.fail(PublicError(code="internal_error", message="x"))
    await held.acknowledged()
    assert client.chunks == []


async def test_an_error_after_a_good_beginning_reaches_the_client() -> None:
    """As in any stream."""
    client = Client()
    held = Held(prefix_tokens=1, open_stream=client.stream)
    await held.delta(piece("Deep"))
    await held.fail(PublicError(code="stream_interrupted", message="x"))
    assert [chunk.kind for chunk in client.chunks] == ["delta", "error"]


def test_a_beginning_is_read_of_the_first_choice() -> None:
    """Words, refusals, calls of tools, log probabilities; nothing else counts."""
    beginning = Beginning()
    for fragment in (
        piece("De", logprobs={"content": [{"token": "De", "logprob": -0.5}, {}]}),
        piece("ep", logprobs=None),
        b'{"choices":[]}',
        b'{"choices":[{"index":0,"text":"!","delta":null}]}',
        b'{"choices":[{"index":0,"delta":{"refusal":"No.","tool_calls":[{"index":0}]}}]}',
    ):
        beginning.take(fragment)
    assert (beginning.text, beginning.refusal, beginning.has_calls) == ("Deep!", "No.", True)
    assert beginning.logprobs == [-0.5]


def parts(response: dict[str, object], *, include_usage: bool = False) -> Sequence[dict[str, Any]]:
    """The fragments of a whole answer, decoded."""
    raw = fragments_of(msgspec.json.encode(response), include_usage=include_usage)
    return [json.loads(fragment) for fragment in raw]


def test_a_whole_answer_becomes_a_stream() -> None:
    """Long texts in pieces, calls with their index, the reason last; usage where it is wanted."""
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    message = {"role": "assistant", "content": "x" * 9_000, "refusal": None, "tool_calls": [call]}
    response: dict[str, object] = {
        "id": "a",
        "object": "chat.completion",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 9},
    }
    first, one, two, last = (it["choices"] for it in parts(response))
    assert first == [
        {
            "index": 0,
            "delta": {"role": "assistant", "tool_calls": [{"index": 0, **call}]},
            "finish_reason": None,
        }
    ]
    sizes = [len(it[0]["delta"]["content"]) for it in (one, two)]
    assert sizes == [8_000, 1_000]
    assert last == [{"index": 0, "delta": {}, "finish_reason": "stop"}]
    *_, told = parts(response, include_usage=True)
    assert (told["choices"], told["usage"]) == ([], {"prompt_tokens": 9})
    assert told["object"] == "chat.completion.chunk"
