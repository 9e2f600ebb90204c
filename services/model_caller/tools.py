"""What serving a request needs."""

from collections.abc import Callable

import msgspec

from services.model_caller.cancels import Cancels
from services.model_caller.chunks import Pass
from services.model_caller.decide import RetryBudget
from services.model_caller.embedded_inputs import EmbeddedInputs
from services.model_caller.gates import Gates
from services.model_caller.journal import Journal
from services.model_caller.metrics import CallMetrics
from services.model_caller.reviews import ReviewOf, no_review
from services.model_caller.sharing import Sharing
from services.shared.domain.configuration import OnUnknown, Retries
from services.shared.ports.attempts import AttemptLog, ChunkHistory
from services.shared.ports.clock import Clock


class Tools(msgspec.Struct, frozen=True, kw_only=True):
    """What every serving uses.

    Attributes:
        gates: The way to the providers.
        retries: Limits of repetition.
        budget: Repetitions that the process may still spend.
        clock: The time.
        jitter: Random numbers in [0, 1).
        metrics: Where calls are counted.
        journal: What is said and known of calls.
        cancels: What is to be cancelled.
        log: The attempt log.
        chunks: Chunks of vanished calls.
        on_unknown: What a model's alias says of calls whose end nobody knows.
        pass_by: Told which place is passed, for processes that are to die somewhere.
        embedded: Vectors of inputs that were embedded before.
        sharing: Makes calls, several as one where that is possible.
        marks_prompts: Whether an alias has its prompts marked for the provider's prompt cache.
        first_chunk: Told when a first chunk is durable; None = that is not waited for.
        review_of: What is done to requests and their answers.
    """

    gates: Gates
    retries: Retries
    budget: RetryBudget
    clock: Clock
    jitter: Callable[[], float]
    metrics: CallMetrics
    journal: Journal
    cancels: Cancels
    log: AttemptLog
    chunks: ChunkHistory
    on_unknown: Callable[[str], OnUnknown]
    pass_by: Pass
    embedded: EmbeddedInputs
    sharing: Sharing
    marks_prompts: Callable[[str], bool]
    first_chunk: Pass | None = None
    review_of: ReviewOf = no_review
