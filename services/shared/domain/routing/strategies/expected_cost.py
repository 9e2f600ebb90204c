"""What a request is expected to cost at a target."""

from services.shared.domain.events import InferenceRequested, Operation
from services.shared.domain.money import NANOUSD_PER_USD, Price, Usage, cost_nanousd
from services.shared.domain.routing.gates import Candidate
from services.shared.domain.routing.observed import Conversation
from services.shared.domain.routing.strategies.strategy import Situation

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


def cost_at(situation: Situation, candidate: Candidate) -> int:
    """Expected cost of the situation's request at a target, nano-USD."""
    request, observed = situation.request, situation.observed
    held = None
    if situation.conversation:
        held = observed.conversation(situation.conversation, situation.now_ms)
    return expected_cost_nanousd(
        request,
        price_of(request, candidate),
        learnt=observed.output_tokens(request.model, candidate.name),
        cached_tokens=cached_tokens(request, candidate, held),
    )


def dollars(nanousd: int) -> str:
    """An amount for people."""
    return f"${nanousd / NANOUSD_PER_USD:.6f}"
