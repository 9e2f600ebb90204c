"""What a call to a simulated model gets. Pure: a model's name and a request in, a plan out."""

from collections.abc import Mapping
from functools import lru_cache

import msgspec

from services.simulator.asking import Asked, Input
from services.simulator.behaviour import (
    HEADERS,
    Behaviour,
    Fault,
    FaultKind,
    Operation,
    UnknownModel,
)
from services.simulator.catalogue import CATALOGUE
from services.simulator.grammar import BadOption, changed, changes_from_options
from services.simulator.refusals import (
    Refusal,
    context_exceeded,
    invalid,
    refusal_from_failure,
)
from services.simulator.schema_instance import instance_text
from services.simulator.seed import drawn_integer, drawn_lognormal, drawn_ratio
from services.simulator.text import said_tokens, tokens_from_text

MAX_NAME_CHARACTERS = 256
LENGTH_SPREAD_RATIO = 0.5
"""Standard deviation of the logarithm of an answer's length."""

MAX_DRAWN_TOKENS = 1_500

Faults = Mapping[FaultKind, Fault]


class Output(msgspec.Struct, frozen=True):
    """One choice of an answer.

    Attributes:
        tokens: What is said, or the arguments of a tool call, piece by piece.
        finish_reason: OpenAI's word for why it ends.
        tool: The function called; "" = none.
        tool_call_id: Its id.
    """

    tokens: tuple[str, ...]
    finish_reason: str
    tool: str = ""
    tool_call_id: str = ""

    @property
    def text(self) -> str:
        """All that is said."""
        return "".join(self.tokens)


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """An answer before any time has passed.

    Attributes:
        outputs: The choices, in the order of their index; none for embeddings.
        input_tokens: Estimated.
        work_ms: Time of the call before the first token's time begins.
        ttft_ms: Time to the first token.
        ms_per_token: Time from token to token; all choices advance together.
        faults: What strikes this call.
        top_logprobs: Likeliest tokens to tell with each; None = no log probabilities.
    """

    outputs: tuple[Output, ...]
    input_tokens: int
    work_ms: float
    ttft_ms: float
    ms_per_token: float
    faults: Faults
    top_logprobs: int | None = None

    @property
    def output_tokens(self) -> int:
        """Tokens of all choices."""
        return sum(len(output.tokens) for output in self.outputs)

    @property
    def service_ms(self) -> float:
        """How long the call occupies a server: to its last token."""
        longest = max((len(output.tokens) for output in self.outputs), default=0)
        return self.work_ms + self.ttft_ms + max(0, longest - 1) * self.ms_per_token


@lru_cache(maxsize=4_096)
def behaviour_from_model(model: str) -> Behaviour | UnknownModel:
    """Read a model's name; the grammar is in ``grammar.py``."""
    if len(model) > MAX_NAME_CHARACTERS:
        return UnknownModel(model, f"names have at most {MAX_NAME_CHARACTERS} characters")
    name, *options = model.split(":")
    base = CATALOGUE.get(name)
    if base is None:
        return UnknownModel(model, f"the simulator has {', '.join(CATALOGUE)}")
    try:
        return changed(base, changes_from_options(options), model=model)
    except BadOption as bad:
        return UnknownModel(model, str(bad))


def struck_faults(behaviour: Behaviour, seed: int, *, earlier_calls: int) -> Faults:
    """Choose the faults of one call.

    Args:
        behaviour: Of the model.
        seed: Of the call; decides where a fault's ratio is below 1.
        earlier_calls: Calls of the same prompt to the same model before this one.
    """
    faults = behaviour.faults
    if behaviour.fail_first:
        if earlier_calls >= behaviour.fail_first:
            return {}
        faults = faults or (Fault(FaultKind.FAIL, 500),)
    return {
        fault.kind: fault
        for fault in faults
        if fault.ratio == 1 or drawn_ratio(seed, fault.kind) < fault.ratio
    }


def refusal_of(
    operation: Operation, asked: Asked, behaviour: Behaviour, faults: Faults
) -> Refusal | None:
    """Whether a call is refused for what it asks, or because its model says so."""
    if operation not in behaviour.operations:
        return _wrong_operation(operation, behaviour)
    asked_tokens = asked.max_output_tokens or 0
    longest = max(one.tokens for one in asked.inputs)
    if longest + asked_tokens > behaviour.context_tokens:
        return context_exceeded(
            limit_tokens=behaviour.context_tokens,
            input_tokens=longest,
            output_tokens=asked_tokens,
        )
    if behaviour.reject and any(behaviour.reject in one.text for one in asked.inputs):
        return invalid(f"An input contains `{behaviour.reject}`.", param="input")
    if FaultKind.FAIL in faults:
        failure = faults[FaultKind.FAIL].argument
        return refusal_from_failure(failure, retry_after=behaviour.retry_after)
    if FaultKind.ERROR in faults and not asked.stream:
        return refusal_from_failure(500, retry_after=behaviour.retry_after)
    return None


def _wrong_operation(operation: Operation, behaviour: Behaviour) -> Refusal:
    if operation is Operation.EMBEDDING:
        message = f"You are not allowed to generate embeddings from {behaviour.base}."
        return Refusal(status=403, message=message, param="model")
    message = f"{behaviour.base} is an embedding model and not supported on this endpoint."
    return Refusal(status=404, message=message, param="model")


def hangs_before_headers(faults: Faults) -> bool:
    """Whether a call never gets a status line."""
    hang = faults.get(FaultKind.HANG)
    return hang is not None and hang.argument == HEADERS


def plan_answer(asked: Asked, behaviour: Behaviour, faults: Faults) -> Plan:
    """Plan what is said and when."""
    is_text = Operation.EMBEDDING not in behaviour.operations
    outputs = (
        tuple(
            _output(asked, one, behaviour, faults, choice=choice)
            for one in asked.inputs
            for choice in range(asked.choices)
        )
        if is_text
        else ()
    )
    pace = behaviour.tokens_per_s
    return Plan(
        outputs=outputs,
        input_tokens=asked.input_tokens,
        work_ms=behaviour.delay_ms + behaviour.per_item_ms * len(asked.inputs),
        ttft_ms=drawn_lognormal(
            asked.seed,
            "ttft",
            median=behaviour.ttft_ms,
            spread_ratio=behaviour.ttft_spread_ratio if behaviour.ttft_ms else 0,
        ),
        ms_per_token=1_000.0 / pace if pace else 0.0,
        faults=faults,
        top_logprobs=asked.top_logprobs,
    )


def _output(
    asked: Asked, one: Input, behaviour: Behaviour, faults: Faults, *, choice: int
) -> Output:
    seed = one.seed if choice == 0 else drawn_integer(one.seed, f"choice {choice}")
    limit = asked.max_output_tokens or behaviour.context_tokens - one.tokens
    if asked.schema is not None:
        tokens = tokens_from_text(instance_text(asked.schema, seed))
    elif behaviour.echo:
        tokens = tokens_from_text(asked.last_user_text or one.text)
    else:
        tokens = _said(behaviour, seed, limit, multibyte=FaultKind.SPLIT_UTF8 in faults)
    kept, reason = _ended(tokens, limit, asked.stops)
    if FaultKind.CONTENT_FILTER in faults:
        kept, reason = kept[: int(faults[FaultKind.CONTENT_FILTER].argument)], "content_filter"
    if asked.tool:
        reason = "tool_calls" if reason == "stop" else reason
        return Output(kept, reason, asked.tool, f"call_{drawn_integer(seed, 'call'):016x}")
    return Output(kept, reason)


def _said(behaviour: Behaviour, seed: int, limit: int, *, multibyte: bool) -> tuple[str, ...]:
    wanted = behaviour.output_tokens
    if wanted is not None:
        return said_tokens(seed, at_least_tokens=wanted, exactly=True, multibyte=multibyte)
    drawn = drawn_lognormal(
        seed, "length", median=behaviour.median_tokens, spread_ratio=LENGTH_SPREAD_RATIO
    )
    # one more than the limit shows that there was more to say
    wanted = max(1, min(round(drawn), MAX_DRAWN_TOKENS, limit + 1))
    return said_tokens(seed, at_least_tokens=wanted, multibyte=multibyte)


def _ended(
    tokens: tuple[str, ...], limit: int, stops: tuple[str, ...]
) -> tuple[tuple[str, ...], str]:
    """End an answer at its limit or before the first stop text; and OpenAI's word for why."""
    kept = tokens[:limit]
    if stops:
        text = "".join(kept)
        ends = [end for stop in stops if (end := text.find(stop)) >= 0]
        if ends:
            return _tokens_before(kept, min(ends)), "stop"
    return kept, "stop" if len(kept) == len(tokens) else "length"


def _tokens_before(tokens: tuple[str, ...], end: int) -> tuple[str, ...]:
    """The tokens of the first ``end`` characters; the last may lose its tail."""
    kept: list[str] = []
    for token in tokens:
        if end <= 0:
            break
        kept.append(token[:end])
        end -= len(token)
    return tuple(kept)
