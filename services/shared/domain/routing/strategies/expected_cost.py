"""What a request is expected to cost at a target."""

from services.shared.domain.routing.gates import Candidate
from services.shared.domain.routing.observed import Conversation
from services.shared.domain.events import InferenceRequested, Operation
from services.shared.domain.money import Price, Usage, cost_nanousd

EXPECTED_OUTPUT_TOKENS = 256
"""Output tokens that a choice is expected to have while nothing is known of its alias."""

MIN_CACHED_TOKENS = 1_024
"""The shortest prompt that providers keep in their prompt caches."""


def expected_output_tokens(request: InferenceRequested, learnt: float | None) -> int:
    """Output tokens that an answer is expected to have.

    Args:
        request: The request.
        learnt: Mean of its alias at a target; None = none yet.
    """
    if request.operation == Operation.EMBEDDINGS:
        return 0
    expected = EXPECTED_OUTPUT_TOKENS if learnt is None else round(learnt)
    return min(request.max_output_tokens or expected, expected) * request.choice_count


def expected_cost_nanousd(
    request: InferenceRequested,
    price: Price,
    *,
    learnt: float | None = None,
    cached_tokens: int = 0,
) -> int:
    """Expected cost of a request in nano-USD.

    Args:
        request: The request.
        price: What the target costs.
        learnt: Mean output tokens of its alias at the target; None = none yet.
        cached_tokens: Input tokens that the target is expected to have in its prompt cache.
    """
    usage = Usage(
        input_tokens=request.estimated_input_tokens,
        output_tokens=expected_output_tokens(request, learnt),
        cached_input_tokens=cached_tokens,
    )
    return cost_nanousd(usage, price)


def cached_tokens(
    request: InferenceRequested, candidate: Candidate, held: Conversation | None
) -> int:
    """Input tokens of a request that a target is expected to have in its prompt cache."""
    if held is None or held.target != candidate.name or held.tokens < MIN_CACHED_TOKENS:
        return 0
    return min(held.tokens, request.estimated_input_tokens)


def price_of(request: InferenceRequested, candidate: Candidate) -> Price:
    """What a target costs a request of that size."""
    return candidate.facts.price_for(request.estimated_input_tokens) or Price()
