"""The records of the pipeline: past-tense facts, one struct a record.

A struct and its newest ``avro/<record>.v<n>.avsc`` have the same fields (a test). Unix times are
ms; hop times are ms since the request was accepted; money is nano-USD. Lists are tuples, so a fact
never changes under a reader.
"""

from enum import StrEnum

import msgspec

from services.shared.domain.ids import NO_REPLY
from services.shared.domain.money import Price, Usage


class Operation(StrEnum):
    """What is asked of a model, in OpenTelemetry's words (``gen_ai.operation.name``)."""

    CHAT = "chat"
    TEXT_COMPLETION = "text_completion"
    EMBEDDINGS = "embeddings"


class CacheOutcome(StrEnum):
    """What the cache said."""

    EXACT_HIT = "exact_hit"
    SEMANTIC_HIT = "semantic_hit"
    JOINED = "joined"
    MISS = "miss"
    BYPASS = "bypass"


class Outcome(StrEnum):
    """How a request ended; the terminal states of ``services.shared.domain.lifecycle``."""

    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


class ChunkKind(StrEnum):
    """What a ``ResultChunk`` is to its stream; ``END`` and ``ERROR`` close it.

    ``JOINED`` says that the answer is that of another request, whose chunks are to be followed; its
    payload is that request's id. A second one says that its end is the answer's end.
    """

    DELTA = "delta"
    JOINED = "joined"
    END = "end"
    ERROR = "error"


class AttemptKind(StrEnum):
    """What a ``ModelCallAttempt`` says."""

    STARTED = "started"
    ALIVE = "alive"
    FINISHED = "finished"


class AttemptOutcome(StrEnum):
    """How a call to a provider ended; ``UNKNOWN``: its owner vanished in the middle of it."""

    ANSWERED = "answered"
    FAILED = "failed"
    UNKNOWN = "unknown"


class UsageKind(StrEnum):
    """What a row of the ledger is about."""

    ATTEMPT = "attempt"
    HIT = "hit"
    JOIN = "join"
    UNKNOWN = "unknown"


class CircuitState(StrEnum):
    """Whether calls to a provider's model are let through."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Root of all records."""


class Hop(Event, frozen=True, kw_only=True):
    """One stage that a request passed, and the record it was taken from.

    Attributes:
        service: Name of the stage, e.g. ``cache-lookup``.
        topic: Topic the stage read the request from; empty at the front door.
        partition: Partition read from, -1 at the front door.
        offset: Offset read from, -1 at the front door.
        received_ms: When the stage got it, ms since the request was accepted.
        finished_ms: When the stage passed it on, ms since the request was accepted.
    """

    service: str
    topic: str = ""
    partition: int = -1
    offset: int = -1
    received_ms: float = 0.0
    finished_ms: float = 0.0


class CachePolicy(Event, frozen=True, kw_only=True):
    """What the caller lets the cache do.

    Attributes:
        no_cache: Do not look up; ask the model.
        no_store: Do not keep the answer.
        max_age_s: Oldest answer accepted, seconds; -1 = any age within the configured time to live.
        namespace: Separate part of the tenant's own cache; empty = the common one.
        no_semantic: Do not serve the answer to a question that only means the same.
        min_similarity: Least similarity of such a question, ratio 0..1; it only ever raises
            the configured one.
    """

    no_cache: bool = False
    no_store: bool = False
    max_age_s: int = -1
    namespace: str = ""
    no_semantic: bool = False
    min_similarity: float = 0.0


class InferenceRequested(Event, frozen=True, kw_only=True):
    """A request was accepted. From a Kafka producer, ``request_id``, ``operation`` and ``body`` do.

    All but the id, the operation and the body is extracted by admission; what an unsigned record
    says of itself in those fields is recomputed or refused.

    Attributes:
        request_id: Unique id: ``req_`` + UUIDv7 + reply partition, or 8-64 of ``A-Za-z0-9_-``.
        operation: ``chat``, ``text_completion`` or ``embeddings``.
        body: The client's OpenAI-shaped JSON body, verbatim.
        tenant: Whose request it is.
        key_id: Public id of the virtual key; empty for Kafka producers.
        tier: Service tier of the key, for routing; empty = default.
        feature: The caller's name for what it is building; empty = none.
        user: The caller's end user, as in the body's ``user``; empty = none.
        model: Model alias that the caller asks for.
        stream: Whether the answer is streamed.
        include_usage: Whether the stream ends with a usage chunk.
        estimated_input_tokens: Input tokens, estimated at admission.
        max_output_tokens: The caller's cap on output tokens; 0 = none.
        temperature: Sampling temperature; null = the model's default.
        choice_count: Number of choices asked for (``n``).
        has_tools: Whether tools are offered to the model.
        has_images: Whether the input holds images.
        has_response_format: Whether JSON or a schema is demanded.
        conversation_id: Sticky id of the conversation; empty = none.
        priority: 0 = a user waits, 1 = near real time, 2 = background.
        accepted_at: When the request was accepted, unix ms.
        deadline_at: When its answer is worthless, unix ms.
        reply_partition: Partition of result-chunks that the waiting gateway reads; -1 = nobody.
        fingerprint: Hex SHA-256 of everything that shapes the answer; the exact cache's key.
        cache_policy: What the caller lets the cache do.
        traceparent: W3C trace context of the request; empty = none.
        tracestate: W3C vendor part of the trace context; empty = none.
    """

    request_id: str
    operation: str
    body: bytes
    tenant: str = ""
    key_id: str = ""
    tier: str = ""
    feature: str = ""
    user: str = ""
    model: str = ""
    stream: bool = False
    include_usage: bool = False
    estimated_input_tokens: int = 0
    max_output_tokens: int = 0
    temperature: float | None = None
    choice_count: int = 1
    has_tools: bool = False
    has_images: bool = False
    has_response_format: bool = False
    conversation_id: str = ""
    priority: int = 0
    accepted_at: int = 0
    deadline_at: int = 0
    reply_partition: int = NO_REPLY
    fingerprint: str = ""
    cache_policy: CachePolicy = CachePolicy()
    traceparent: str = ""
    tracestate: str = ""


class SemanticKey(Event, frozen=True, kw_only=True):
    """A question as the semantic cache compares it; computed once, at the look-up.

    Attributes:
        scope: Hex hash of all that has to be equal: tenant, namespace, model, system prompt, tools,
            response format, sampling, earlier turns, encoder build.
        encoder: Build of the encoder that made the vector.
        text: The question, normalised.
        vector: Its unit vector as little-endian float16.
        quotes: Hex hashes of the answers that the request quotes as earlier turns.
    """

    scope: str
    encoder: str
    text: str
    vector: bytes
    quotes: tuple[str, ...] = ()


class CacheEvidence(Event, frozen=True, kw_only=True):
    """What the cache found.

    Attributes:
        outcome: ``exact_hit``, ``semantic_hit``, ``miss`` or ``bypass``.
        age_s: Age of the answer served, seconds; 0 unless a hit.
        source_request_id: Request whose answer was served; empty unless a hit.
        similarity: Of the question to that of the candidate, 0..1; 0 = there was none.
        score: Of the candidate after all checks, 0..1, as the controller of the verified mode
            compares it; 0 = there was none, or a check vetoed it.
        candidate_id: Entry that came closest, served or not; empty = none.
        candidate_fingerprint: Key of its answer in the exact cache; empty = none.
        semantic: The question as it was compared; null = it was not.
        shadow_of: Request that was served from the cache and is asked again here, to find out
            whether that was right; empty = none.
        shadow_weight: Number of requests that such a request stands for: 1 / share of hits that
            are asked again; 0 = it is none.
    """

    outcome: str = CacheOutcome.MISS.value
    age_s: int = 0
    source_request_id: str = ""
    similarity: float = 0.0
    score: float = 0.0
    candidate_id: str = ""
    candidate_fingerprint: str = ""
    semantic: SemanticKey | None = None
    shadow_of: str = ""
    shadow_weight: float = 0.0


class CacheMissed(Event, frozen=True, kw_only=True):
    """The cache could not answer a request.

    Attributes:
        request: The request.
        cache: What the cache found.
        hops: Stages passed so far.
    """

    request: InferenceRequested
    cache: CacheEvidence
    hops: tuple[Hop, ...] = ()


class Target(Event, frozen=True, kw_only=True):
    """One place that may serve a request.

    Attributes:
        provider: Name of the provider in the configuration.
        model: The provider's own name of the model.
        price: What it costs.
    """

    provider: str
    model: str
    price: Price = Price()


class Route(Event, frozen=True, kw_only=True):
    """Where a request goes, and why.

    Attributes:
        alias: Model alias asked for.
        strategy: Strategy that decided, e.g. ``fixed``.
        reason: One sentence for people.
        config_version: Hash of the configuration that decided.
        expected_cost_nanousd: Expected cost at the first target, nano-USD.
        targets: First choice and fallbacks, in order.
        score: How hard the request looks, as the strategy ``complexity`` ranks it; 0 = not asked.
        tier: Part of the traffic that it was counted to, e.g. ``easy``; empty = not asked.
        is_cascade: Whether an answer is judged, and the next target asked if it is doubtful.
        conversation: Hex hash of the conversation that the alias holds at a target; empty = none.
    """

    alias: str
    strategy: str
    reason: str
    config_version: str
    expected_cost_nanousd: int = 0
    targets: tuple[Target, ...] = ()
    score: float = 0.0
    tier: str = ""
    is_cascade: bool = False
    conversation: str = ""


class RequestRouted(Event, frozen=True, kw_only=True):
    """The router chose where a request goes.

    Attributes:
        request: The request.
        cache: What the cache found.
        route: Where it goes.
        lane: Requests of one lane may share a batch: provider/model/operation.
        hops: Stages passed so far.
    """

    request: InferenceRequested
    cache: CacheEvidence
    route: Route
    lane: str
    hops: tuple[Hop, ...] = ()


class RequestBatch(Event, frozen=True, kw_only=True):
    """Requests that the model caller takes together.

    Attributes:
        batch_id: Unique id of the batch.
        lane: Their common lane.
        merge: True = one upstream call for all members; False = a call each.
        closed_by: Why the window closed: time, count, tokens, bytes, deadline, lone or burst.
        opened_at: When its window opened, unix ms.
        members: The requests, 1 to some hundred.
    """

    batch_id: str
    lane: str
    merge: bool
    closed_by: str
    opened_at: int
    members: tuple[RequestRouted, ...]


class ResultChunk(Event, frozen=True, kw_only=True):
    """A piece of an answer on its way to the waiting client.

    Attributes:
        request_id: The request.
        run: Who produced it: a request that is served again, after a crash, has another run.
        attempt: Number of the model call that produced it, from 1; 0 = no call was made.
        seq: Position in the attempt's stream, from 0 without gaps.
        kind: ``delta``, ``end`` or ``error``.
        payload: Rendered OpenAI JSON; several fragments are separated by a line feed.
        status: HTTP status of the answer.
        headers: Response headers, on the first chunk of an attempt.
    """

    request_id: str
    attempt: int
    seq: int
    kind: str
    payload: bytes
    run: str = ""
    status: int = 200
    headers: dict[str, str] = {}


class ModelCall(Event, frozen=True, kw_only=True):
    """One call to a provider.

    Attributes:
        attempt: Number of the call within the request, from 1.
        provider: Name of the provider.
        model: The provider's own name of the model.
        started_ms: When it started, ms since the request was accepted.
        first_chunk_ms: When its first output arrived, ms since the request was accepted; -1 = none.
        finished_ms: When it ended, ms since the request was accepted.
        error_code: Why it failed; empty = it did not.
        upstream_status: HTTP status of the provider; 0 = none.
        upstream_request_id: The provider's own request id; empty = none.
        usage: Tokens it used.
        cost_nanousd: What it cost, nano-USD.
        confidence: Calibrated probability that the answer was good, 0..1; -1 = it was not judged.
        verdict: Why the answer was let through or not, for people; empty = it was not judged.
        saved_nanousd: What it would have cost more without the provider's prompt cache and without
            the vectors that were known, nano-USD.
    """

    attempt: int
    provider: str
    model: str
    started_ms: float
    first_chunk_ms: float = -1.0
    finished_ms: float = 0.0
    error_code: str = ""
    upstream_status: int = 0
    upstream_request_id: str = ""
    usage: Usage = Usage()
    cost_nanousd: int = 0
    confidence: float = -1.0
    verdict: str = ""
    saved_nanousd: int = 0


class Failure(Event, frozen=True, kw_only=True):
    """Why a request has no answer; the public error.

    Attributes:
        code: Stable code for programs.
        message: What happened and what to do, for people.
        param: Field of the request at fault; empty = none.
        status: HTTP status that goes with it.
        fault: Whose fault: caller, policy, provider or gateway.
    """

    code: str
    message: str
    param: str = ""
    status: int = 500
    fault: str = "gateway"


class InferenceFinished(Event, frozen=True, kw_only=True):
    """The terminal record of a request; the first in log order is the truth.

    Attributes:
        request_id: The request.
        outcome: ``completed``, ``failed``, ``cancelled`` or ``expired``.
        tenant: Whose request it was.
        key_id: Public id of the virtual key; empty for Kafka producers.
        tier: Service tier of the key.
        feature: The caller's feature; empty = none.
        user: The caller's end user; empty = none.
        operation: ``chat``, ``text_completion`` or ``embeddings``.
        model: Model alias asked for.
        stream: Whether the answer was streamed.
        priority: Priority of the request.
        accepted_at: When it was accepted, unix ms.
        finished_at: When it ended, unix ms.
        fingerprint: Key of the exact cache.
        cache_policy: What the caller lets the cache do.
        cache: What the cache found.
        route: Where it went; null when it was never routed.
        calls: Calls to providers, in order.
        batch_id: Batch it was called in; empty = none.
        batch_size: Members of that batch; 0 = none.
        usage: Tokens the caller is told of.
        cost_nanousd: Sum over all calls, nano-USD.
        finish_reason: Why the model stopped; empty = no answer.
        response_model: Model that the provider says answered.
        response: The whole answer as OpenAI-shaped JSON; empty unless completed.
        error: Why there is no answer; null when there is one.
        hops: Stages passed.
    """

    request_id: str
    outcome: str
    tenant: str = ""
    key_id: str = ""
    tier: str = ""
    feature: str = ""
    user: str = ""
    operation: str = ""
    model: str = ""
    stream: bool = False
    priority: int = 0
    accepted_at: int = 0
    finished_at: int = 0
    fingerprint: str = ""
    cache_policy: CachePolicy = CachePolicy()
    cache: CacheEvidence = CacheEvidence()
    route: Route | None = None
    calls: tuple[ModelCall, ...] = ()
    batch_id: str = ""
    batch_size: int = 0
    usage: Usage = Usage()
    cost_nanousd: int = 0
    finish_reason: str = ""
    response_model: str = ""
    response: bytes = b""
    error: Failure | None = None
    hops: tuple[Hop, ...] = ()


class CacheEntry(Event, frozen=True, kw_only=True):
    """An answer that may be served again.

    Attributes:
        fingerprint: Key of the exact cache.
        tenant: Whose answer it is; nobody else is served it.
        request_id: Request that it answered.
        operation: ``chat``, ``text_completion`` or ``embeddings``.
        response: The whole answer as OpenAI-shaped JSON.
        response_model: Model that the provider says answered.
        finish_reason: Why the model stopped.
        usage: Tokens that it cost.
        stored_at: When it was admitted, unix ms.
        cost_nanousd: What it cost, nano-USD: so much is saved where it is served again.
        price_version: Price table behind that; empty = none.
    """

    fingerprint: str
    tenant: str
    request_id: str
    operation: str
    response: bytes
    response_model: str = ""
    finish_reason: str = "stop"
    usage: Usage = Usage()
    stored_at: int = 0
    cost_nanousd: int = 0
    price_version: str = ""


class AnswerCached(Event, frozen=True, kw_only=True):
    """An answer was admitted to the cache; a tombstone says that it was purged.

    The answer itself stands in the exact cache under the fingerprint.

    Attributes:
        entry_id: Request that it answered; the record's key.
        tenant: Whose answer it is.
        model: Model alias that was asked for.
        operation: ``chat``, ``text_completion`` or ``embeddings``.
        fingerprint: Key of the exact cache.
        answer_hash: Hex hash of the answer's text, as ``SemanticKey.quotes`` has it.
        semantic: The question as the semantic cache compares it; null = it is found by its
            fingerprint alone.
        stored_at: When it was admitted, unix ms.
        expires_at: When it is no longer served, unix ms.
    """

    entry_id: str
    tenant: str
    model: str
    operation: str
    fingerprint: str
    answer_hash: str = ""
    semantic: SemanticKey | None = None
    stored_at: int = 0
    expires_at: int = 0


class CandidateJudged(Event, frozen=True, kw_only=True):
    """It turned out whether a cached answer would have been, or was, the right one.

    Attributes:
        request_id: Request whose fresh answer was compared; the record folds by it.
        tenant: Whose request it was; the record's key.
        entry_id: Entry that was compared.
        scope: Scope of both.
        score: Of the candidate, as the controller compares it, ratio 0..1.
        is_right: Whether both answers say the same.
        was_served: Whether the cached answer had been served (a re-ask), or not (a miss).
        weight: Number of requests that this one stands for: 1 / share of hits that are re-asked.
        at: When it turned out, unix ms.
        without_candidate: Number of the tenant's requests since the last judgement by the same
            process that were compared and found no candidate.
    """

    request_id: str
    tenant: str
    entry_id: str
    scope: str
    score: float
    is_right: bool
    was_served: bool
    weight: float
    at: int
    without_candidate: int = 0


class FeedbackGiven(Event, frozen=True, kw_only=True):
    """Somebody, or something, said how good an answer was.

    Attributes:
        feedback_id: Unique id; the record folds by it.
        request_id: Request whose answer it is about.
        tenant: Whose request it was; the record's key.
        source: ``user``, ``judge`` or ``escalation``.
        score: 0 = bad .. 1 = good.
        at: When it was given, unix ms.
    """

    feedback_id: str
    request_id: str
    tenant: str
    source: str
    score: float
    at: int


class CrashSuspected(Event, frozen=True, kw_only=True):
    """A record was alone in a process that died; three times makes it poison.

    Attributes:
        topic: Topic of the record.
        partition: Partition of the record.
        offset: Offset of the record.
        group: Consumer group of the process that died.
        crashes: How often it was alone at a crash.
    """

    topic: str
    partition: int
    offset: int
    group: str
    crashes: int


class ModelCallAttempt(Event, frozen=True, kw_only=True):
    """What a model caller says of a call: before it, while calls run, and after it.

    The first ``finished`` of an attempt in log order is the truth; ``alive`` is about its owner and
    names no request.

    Attributes:
        kind: ``started``, ``alive`` or ``finished``.
        owner: Process that makes the call: its slot, a dot, and what is unique to its run.
        request_id: The request; empty in ``alive``.
        attempt: Number of the call within the request, from 1; 0 in ``alive``.
        batch_id: Batch that the request was taken in; empty in ``alive``.
        tenant: Whose request it is.
        provider: Name of the provider that is called.
        model: The provider's own name of the model.
        at: When it happened, unix ms.
        deadline_at: When the request's answer is worthless, unix ms; 0 = never.
        reserved_nanousd: Most that the call is expected to cost, nano-USD; in ``started``.
        outcome: ``answered``, ``failed`` or ``unknown`` in ``finished``; else empty.
        error_code: Why it failed; empty = it did not.
        result: The terminal record, encoded, where the attempt ended the request; else empty.
    """

    kind: str
    owner: str
    request_id: str = ""
    attempt: int = 0
    batch_id: str = ""
    tenant: str = ""
    provider: str = ""
    model: str = ""
    at: int = 0
    deadline_at: int = 0
    reserved_nanousd: int = 0
    outcome: str = ""
    error_code: str = ""
    result: bytes = b""


class UsageRecorded(Event, frozen=True, kw_only=True):
    """A row of the ledger; rows fold by ``row_id``.

    Of several rows with one id the first in log order counts, and one of another kind takes the
    place of ``unknown``. A hit or a join of a request that a call has answered does not count.

    Attributes:
        row_id: Id of what happened: request id, a hyphen, and the attempt.
        kind: ``attempt``, ``hit``, ``join`` or ``unknown``.
        tenant: Who pays.
        key_id: Public id of the virtual key; empty for Kafka producers.
        tier: Service tier of the key; empty = default.
        feature: The caller's feature; empty = none.
        user: The caller's end user; empty = none.
        operation: ``chat``, ``text_completion`` or ``embeddings``.
        model: Model alias asked for.
        request_id: The request.
        attempt: Number of the call within the request, from 1; 0 = no call was made.
        source_request_id: Request whose answer was served, or joined; empty = its own.
        provider: Name of the provider; empty = none was called.
        provider_model: The provider's own name of the model.
        at: When it ended, unix ms.
        error_code: Why the call failed; empty = it did not.
        usage: Tokens by kind; of a hit or a join what was saved.
        cost_nanousd: What it cost, nano-USD; of ``unknown`` what was reserved.
        saved_nanousd: What a call would have cost, nano-USD; of ``attempt`` what it would have
            cost more without the provider's prompt cache and without vectors that were known.
        price_version: Name and date of the price table; empty = no price.
    """

    row_id: str
    kind: str
    tenant: str
    key_id: str = ""
    tier: str = ""
    feature: str = ""
    user: str = ""
    operation: str = ""
    model: str = ""
    request_id: str = ""
    attempt: int = 0
    source_request_id: str = ""
    provider: str = ""
    provider_model: str = ""
    at: int = 0
    error_code: str = ""
    usage: Usage = Usage()
    cost_nanousd: int = 0
    saved_nanousd: int = 0
    price_version: str = ""


class ProviderHealth(Event, frozen=True, kw_only=True):
    """Whether a provider's model is called; the newest record of a key counts.

    Attributes:
        provider: Name of the provider.
        model: The provider's own name of the model.
        state: ``closed``, ``open`` or ``half_open``.
        at: When it changed, unix ms.
        until: When the next probe may be made, unix ms; 0 = now.
        failures: Number of failed calls that led here.
        reason: Code of the last error; empty = none.
        owner: Process that saw it.
    """

    provider: str
    model: str
    state: str
    at: int
    until: int = 0
    failures: int = 0
    reason: str = ""
    owner: str = ""


class IdempotencyClaimed(Event, frozen=True, kw_only=True):
    """A request was sent with an ``Idempotency-Key``; the first unexpired claim of a key wins.

    Attributes:
        tenant: Whose key it is.
        key_hash: Hex SHA-256 of tenant and key.
        fingerprint: Hex SHA-256 of what was asked: operation and canonical body.
        request_id: The request that the claim stands for.
        at: When it was claimed, unix ms.
        takes_over: Request of the claim before, which ended without effect and frees the key;
            empty = none.
    """

    tenant: str
    key_hash: str
    fingerprint: str
    request_id: str
    at: int
    takes_over: str = ""


class ControlRequested(Event, frozen=True, kw_only=True):
    """Somebody wants something of a running request.

    Attributes:
        action: ``cancel``; ``hold`` = its call is needed by others, ``release`` = no longer.
        request_id: The request.
        tenant: Whose it is; a request of another tenant is let be.
        at: When it was asked for, unix ms.
        reason: Why it is cancelled: ``asked`` or ``client_gone``.
        holder: Process where requests wait for its answer, in ``hold`` and ``release``; else empty.
    """

    action: str
    request_id: str
    tenant: str
    at: int
    reason: str = ""
    holder: str = ""


class Sketch(Event, frozen=True, kw_only=True):
    """How values are distributed: adds up with others, any quantile within 1 %.

    Bucket ``i`` holds the values above ``g ** (i - 1)`` up to ``g ** i``, with g = 1.01 / 0.99;
    bucket -1 holds zeros. ``2 * g ** i / (g + 1)`` is within 1 % of every value of its bucket.

    Attributes:
        count: Number of values.
        total: Their sum, in the unit of the field: thousandths of ms, or members of a batch.
        minimum: The smallest: thousandths of ms, or members of a batch.
        maximum: The largest: thousandths of ms, or members of a batch.
        buckets: Position of each bucket that holds values, ascending.
        counts: Number of values in each of these buckets.
    """

    count: int = 0
    total: int = 0
    minimum: int = 0
    maximum: int = 0
    buckets: tuple[int, ...] = ()
    counts: tuple[int, ...] = ()


class ErrorCount(Event, frozen=True, kw_only=True):
    """How many requests ended with one error in one service.

    Attributes:
        code: Stable code of the error.
        fault: Whose fault: caller, policy, provider or gateway.
        service: Stage that ended the request.
        count: Number of requests.
    """

    code: str
    fault: str
    service: str
    count: int


class HopTimes(Event, frozen=True, kw_only=True):
    """How long requests were on their way to a stage, and in it.

    Attributes:
        service: The stage.
        waited: From the end of the stage before to the start of this one, thousandths of ms.
        worked: From the start of this stage to its end, thousandths of ms.
    """

    service: str
    waited: Sketch
    worked: Sketch


class UsageWindow(Event, frozen=True, kw_only=True):
    """What one partition of ``inference-results`` holds of one window and one set of dimensions.

    The newest record of a key counts; the partitions of a window are added up by its readers
    (``services.shared.domain.usage_windows``). A request counts in the window in which it ended.

    Attributes:
        window_start: Start of the window, unix ms.
        window_s: Its length, seconds: 10, 60, 3600 or 86400.
        source_partition: Partition of ``inference-results`` that was counted; -1 = all together.
        through_offset: Offset of the last record that was counted.
        tenant: Whose requests; ``_other`` = of those beyond the number of tenants that are kept.
        model: Model alias asked for. This and the dimensions below are ``_other`` for what is
            beyond the number of combinations that are kept for a tenant.
        provider: Provider that was called last; empty = none was called.
        provider_model: The provider's own name of the model.
        tier: Service tier.
        feature: The caller's feature; empty = none.
        operation: ``chat``, ``text_completion`` or ``embeddings``.
        requests: Number of requests that ended.
        completed: Number of those that got their answer.
        failed: Number of those that got an error.
        cancelled: Number of those that the caller gave up.
        expired: Number of those that met their deadline.
        streams: Number of those that asked for a stream.
        exact_hits: Number of those answered by the exact cache.
        semantic_hits: Number of those answered by the semantic cache.
        cache_misses: Number of those that the cache had no answer for.
        cache_bypasses: Number of those that did not ask the cache.
        joined: Number of those that shared the call of an identical one.
        model_calls: Number of calls to providers.
        failed_calls: Number of those calls that failed.
        late: Number of requests counted in a later window: theirs was closed, or is not credible.
        early: Number of requests counted in an earlier window: theirs lay in the future.
        input_tokens: Input tokens of all calls, cached ones included.
        output_tokens: Output tokens of all calls, reasoning included.
        cached_input_tokens: Input tokens that providers served from their prompt caches.
        reasoning_output_tokens: Output tokens spent on hidden reasoning.
        estimated_calls: Number of calls whose tokens we counted, as the provider did not.
        cost_nanousd: What all calls cost, nano-USD.
        errors: Requests by error.
        duration: From acceptance to the end, thousandths of ms.
        first_chunk: From acceptance to the first output of a model, thousandths of ms.
        batch_size: Members of the batches that requests were called in.
        hops: Times by stage.
    """

    window_start: int
    window_s: int
    source_partition: int = -1
    through_offset: int = -1
    tenant: str = ""
    model: str = ""
    provider: str = ""
    provider_model: str = ""
    tier: str = ""
    feature: str = ""
    operation: str = ""
    requests: int = 0
    completed: int = 0
    failed: int = 0
    cancelled: int = 0
    expired: int = 0
    streams: int = 0
    exact_hits: int = 0
    semantic_hits: int = 0
    cache_misses: int = 0
    cache_bypasses: int = 0
    joined: int = 0
    model_calls: int = 0
    failed_calls: int = 0
    late: int = 0
    early: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cached_input_tokens: int = 0
    reasoning_output_tokens: int = 0
    estimated_calls: int = 0
    cost_nanousd: int = 0
    errors: tuple[ErrorCount, ...] = ()
    duration: Sketch = Sketch()
    first_chunk: Sketch = Sketch()
    batch_size: Sketch = Sketch()
    hops: tuple[HopTimes, ...] = ()
