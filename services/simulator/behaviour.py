"""What a simulated model does, as a value."""

from enum import StrEnum

import msgspec


class Operation(StrEnum):
    """What a call asks for, in OpenTelemetry's words."""

    CHAT = "chat"
    COMPLETION = "text_completion"
    EMBEDDING = "embeddings"


class FaultKind(StrEnum):
    """A way in which an answer goes wrong; the text is the option's name in a model name."""

    FAIL = "fail"
    REDIRECT = "redirect"
    HANG = "hang"
    CUT = "cut"
    EOF = "eof"
    ERROR = "error"
    BAD_JSON = "badjson"
    LIE_USAGE = "lie-usage"
    NO_USAGE = "no-usage"
    DUP_CHUNK = "dup-chunk"
    BIG_CHUNK = "big-chunk"
    AFTER_END = "after-end"
    WRONG_MODEL = "wrong-model"
    GZIP_BOMB = "gzip-bomb"
    SPLIT_UTF8 = "split-utf8"
    CONTENT_FILTER = "content-filter"


HEADERS = "headers"
"""Argument of ``hang`` that means: before the status line."""


class Fault(msgspec.Struct, frozen=True):
    """One fault and how often it strikes.

    Attributes:
        kind: What goes wrong.
        argument: What the kind needs: a status, a position in tokens, a size in bytes, a word.
        ratio: Share of requests that it strikes, 0..1; which ones follows from the request.
    """

    kind: FaultKind
    argument: int | str = 0
    ratio: float = 1.0


class RetryAfter(msgspec.Struct, frozen=True):
    """How a refusal says when to come back.

    Attributes:
        form: ``seconds`` and ``date`` are the two forms of ``Retry-After``; ``ms`` is OpenAI's own
            ``retry-after-ms``.
        delay_ms: From now.
    """

    form: str
    delay_ms: float


class Behaviour(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a model name decides.

    Attributes:
        model: The whole name, options included.
        base: Name in the catalogue.
        operations: What the model can do.
        context_tokens: Input and output together may not exceed this.
        output_tokens: Exact length of every answer; None = lognormal around the median.
        median_tokens: Median length of an answer.
        ttft_ms: Median time to the first token.
        ttft_spread_ratio: Standard deviation of the logarithm of that time; 0 = always the median.
        tokens_per_s: Pace after the first token; 0 = no pause between tokens.
        delay_ms: Work of a call before its first byte.
        per_item_ms: More work for each input of a call.
        parallel: Calls served at once, the others queue; 0 = any number.
        requests_per_min: Calls admitted; 0 = any number.
        tokens_per_min: Tokens admitted, input and asked for; 0 = any number.
        dimensions: Length of an embedding.
        echo: Answer with the last user message.
        reject: A call with this word in any input is answered 400; "" = none.
        fail_first: Faults strike only in the first so many calls of a prompt; 0 = in all.
        retry_after: Hint on refusals.
        faults: What goes wrong.
    """

    model: str
    base: str
    operations: frozenset[Operation]
    context_tokens: int = 128_000
    output_tokens: int | None = None
    median_tokens: int = 120
    ttft_ms: float = 0.0
    ttft_spread_ratio: float = 0.0
    tokens_per_s: float = 0.0
    delay_ms: float = 0.0
    per_item_ms: float = 0.0
    parallel: int = 0
    requests_per_min: int = 0
    tokens_per_min: int = 0
    dimensions: int = 384
    echo: bool = False
    reject: str = ""
    fail_first: int = 0
    retry_after: RetryAfter | None = None
    faults: tuple[Fault, ...] = ()


class UnknownModel(msgspec.Struct, frozen=True):
    """A model name that means nothing, and why."""

    model: str
    why: str
