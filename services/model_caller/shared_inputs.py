"""What of requests decides whether, and how many of them, may share a call. Pure."""

from typing import NamedTuple

from services.model_caller.completions import completion_key, count_of_prompts
from services.model_caller.embeddings import inputs_of, merge_key
from services.model_caller.packing import Load
from services.shared.domain.events import InferenceRequested, Operation


class Company(NamedTuple):
    """What is equal of requests that may share a call, beside their target.

    Attributes:
        operation: The operation.
        tenant: The tenant; empty = tenants may share.
        shape: Every field of their bodies but the inputs and the user.
    """

    operation: str
    tenant: str
    shape: bytes

    def within(self, *, isolates_inputs: bool) -> "Company":
        """The company at a provider that answers each input for itself, or does not."""
        return self._replace(tenant="") if isolates_inputs else self


def company_of(request: InferenceRequested) -> Company | None:
    """With whom a request may share a call; None = it is called by itself."""
    shape = None
    if request.operation == Operation.EMBEDDINGS:
        shape = merge_key(request.body)
    elif request.operation == Operation.TEXT_COMPLETION and not request.stream:
        shape = completion_key(request.body)
    return None if shape is None else Company(request.operation, request.tenant, shape)


def load_of(request: InferenceRequested) -> Load:
    """What a request puts into a call."""
    if request.operation == Operation.EMBEDDINGS:
        return Load(len(inputs_of(request.body)), request.estimated_input_tokens)
    return Load(count_of_prompts(request.body), request.estimated_input_tokens)
