"""An answer as it stands in the chunks that a client was given. Pure."""

from collections.abc import Sequence

import msgspec

from services.model_caller.answers import Malformed, StreamedAnswer, whole_answer
from services.model_caller.usage import reported_usage
from services.shared.domain.events import InferenceRequested, Operation, ResultChunk
from services.shared.domain.money import Usage
from services.shared.domain.no_json import NO_JSON
from services.shared.domain.terminal import Answer


class _Embeddings(msgspec.Struct):
    model: str | None = None
    usage: dict[str, object] | None = None


def answer_of_chunks(request: InferenceRequested, chunks: Sequence[ResultChunk]) -> Answer:
    """The whole answer of a stream that reached its end.

    What it cost is what the client was told, else estimated.

    Raises:
        Malformed: It is none.
        ProviderError: It is an error in the place of an answer.
    """
    if request.operation == Operation.EMBEDDINGS:
        return _embeddings(request, chunks[-1].payload)
    if not request.stream:
        return whole_answer(request, chunks[-1].payload)
    answer = StreamedAnswer(request)
    for chunk in chunks:
        for fragment in filter(None, chunk.payload.split(b"\n")):
            answer.take(fragment)
    return answer.answer()


def _embeddings(request: InferenceRequested, payload: bytes) -> Answer:
    try:
        document = msgspec.json.decode(payload, type=_Embeddings)
    except NO_JSON as error:
        raise Malformed("the answer is not a list of embeddings") from error
    usage = reported_usage(document.usage, has_output=False)
    if usage is None:
        usage = Usage(input_tokens=request.estimated_input_tokens, is_estimated=True)
    return Answer(response=payload, usage=usage, response_model=document.model or "")
