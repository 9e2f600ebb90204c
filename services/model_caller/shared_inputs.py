"""What of requests decides whether, and how many of them, may share a call. Pure."""

from services.model_caller.completions import completion_key, count_of_prompts
from services.model_caller.embeddings import inputs_of, merge_key
from services.model_caller.packing import Load
from services.shared.domain.events import InferenceRequested, Operation


def shape_of(request: InferenceRequested) -> bytes | None:
    """What must be equal for requests to share a call: every field but the inputs and the user.

    None = the request is called by itself.
    """
    if request.operation == Operation.EMBEDDINGS:
        return merge_key(request.body)
    if request.operation == Operation.TEXT_COMPLETION and not request.stream:
        return completion_key(request.body)
    return None


def load_of(request: InferenceRequested) -> Load:
    """What a request puts into a call."""
    if request.operation == Operation.EMBEDDINGS:
        return Load(len(inputs_of(request.body)), request.estimated_input_tokens)
    return Load(count_of_prompts(request.body), request.estimated_input_tokens)
