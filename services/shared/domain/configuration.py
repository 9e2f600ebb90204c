"""What ``millrace.yaml`` may say.

Every field has a default that works; bounds stand in the types. A section left out means its
defaults. What no single field can know is checked by
``services.shared.domain.configuration_mistakes``. Secrets never stand here: a provider names the
environment variables of its keys, a virtual key is known by its hash.
"""

from decimal import Decimal
from enum import StrEnum
from typing import Annotated

import msgspec

from services.shared.domain.configuration_output import FeatureOutput, Output
from services.shared.domain.configuration_routing import Cascade, Complexity, Strategy
from services.shared.domain.configuration_semantic import Semantic, SemanticMode
from services.shared.domain.configuration_types import (
    MAX_DEADLINE_S,
    Count,
    CountOrZero,
    Priority,
    Ratio,
    Seconds,
    Section,
    WindowCount,
    WindowMs,
)
from services.shared.domain.events import Operation

MAX_ATTEMPTS = 3
MAX_BODY_BYTES = 4 * 1024 * 1024
MIN_STREAM_RETENTION_S = 60


class OnUnknown(StrEnum):
    """What follows when the process that made a call vanished, so that nobody knows how it ended.

    ``RETRY`` calls again, unless output had been handed on; ``FAIL`` never pays twice.
    """

    RETRY = "retry"
    FAIL = "fail"


class WhenClientLeaves(StrEnum):
    """What becomes of a request whose client went away before its answer was complete."""

    CANCEL = "cancel"
    FINISH = "finish"


class Modality(StrEnum):
    """A kind of input."""

    TEXT = "text"
    IMAGE = "image"


class Timeouts(Section, frozen=True, kw_only=True):
    """How long a provider may take.

    Attributes:
        connect_s: To connect, TLS included.
        first_token_s: From the request to the first output of a stream.
        inter_token_s: Between two pieces of a stream.
        total_s: The whole call; the request's deadline cuts it further.
    """

    connect_s: Seconds = 5.0
    first_token_s: Seconds = 60.0
    inter_token_s: Seconds = 30.0
    total_s: Seconds = 600.0


class Unpriced(StrEnum):
    """What to do with a model whose price nobody knows."""

    REFUSE = "refuse"
    SERVE = "serve"


class Provider(Section, frozen=True, kw_only=True):
    """A place that serves models by OpenAI's protocol.

    Attributes:
        base_url: Root of its API, e.g. ``https://api.openai.com/v1``.
        api_key_env: Environment variables that hold its keys, as ``NAME`` or ``env:NAME``; several
            are used in turn.
        ca_bundle: PEM file of the authorities to trust; empty = ``SSL_CERT_FILE`` or the system's.
        proxy: URL of the proxy; empty = ``HTTPS_PROXY``, ``HTTP_PROXY`` and ``NO_PROXY``.
        timeouts: How long it may take.
        endpoints: Further roots of the same API, with the same keys and models; each call goes to
            the one that has the fewest tokens under way.
        max_in_flight: Calls at once from one model caller.
        requests_per_minute: Calls a minute from one model caller; 0 = no limit.
        tokens_per_minute: Tokens a minute, input and output, from one model caller; 0 = no limit.
        isolates_inputs_by_index: Whether several inputs of one call cannot influence one another,
            so that those of different tenants may share a call.
        inputs_per_call: Most inputs of one embeddings call.
        tokens_per_call: Most input tokens of one embeddings call.
        takes_cache_control: Whether it knows ``cache_control`` in prompts; others refuse requests
            with unknown fields, so nothing is marked for them.
        free: Whether its models cost nothing, e.g. on own hardware.
        unpriced: What happens to a model of unknown price: ``refuse``, or ``serve`` at a cost
            recorded as unknown.
        catalog: Its id in the price catalog; empty = found by address, name or model.
    """

    base_url: str
    api_key_env: str | tuple[str, ...] = ()
    ca_bundle: str = ""
    proxy: str = ""
    timeouts: Timeouts = Timeouts()
    endpoints: tuple[str, ...] = ()
    max_in_flight: Count = 512
    requests_per_minute: CountOrZero = 0
    tokens_per_minute: CountOrZero = 0
    isolates_inputs_by_index: bool = False
    inputs_per_call: Count = 2_048
    tokens_per_call: Count = 300_000
    takes_cache_control: bool = False
    free: bool = False
    unpriced: Unpriced = Unpriced.REFUSE
    catalog: str = ""

    @property
    def api_key_names(self) -> tuple[str, ...]:
        """Environment variables that hold its keys, in order of use."""
        named = (self.api_key_env,) if isinstance(self.api_key_env, str) else self.api_key_env
        return tuple(name.removeprefix("env:") for name in named)


class PriceOverride(Section, frozen=True, kw_only=True):
    """A price that takes precedence over the catalog's, in USD for a million tokens.

    Attributes:
        input_usd_per_mtok: Input tokens.
        cached_input_usd_per_mtok: Input tokens from the provider's prompt cache; null = as input.
        cache_write_usd_per_mtok: Input tokens written to that cache; null = as input.
        output_usd_per_mtok: Output tokens.
    """

    input_usd_per_mtok: Decimal
    cached_input_usd_per_mtok: Decimal | None = None
    cache_write_usd_per_mtok: Decimal | None = None
    output_usd_per_mtok: Decimal = Decimal(0)


class ModelTarget(Section, frozen=True, kw_only=True):
    """One provider's model behind an alias. Facts given here override the catalog's.

    Attributes:
        provider: Name of the provider.
        model: Its name for the model; empty = the alias as asked for. A ``*`` stands for what the
            ``*`` of the alias matched.
        weight: Share under the strategy ``weighted``; 0 = fallback only.
        tiers: Service tiers that it serves; empty = all.
        context_window_tokens: Most tokens of input and output together; 0 = as the catalog says.
        max_output_tokens: Most tokens of output; 0 = as the catalog says.
        input_modalities: Kinds of input it takes; null = as the catalog says.
        tools: Whether it can call tools; null = as the catalog says.
        price: What it costs; null = as ``prices`` or the catalog says.
    """

    provider: str
    model: str = ""
    weight: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] = 1
    tiers: tuple[str, ...] = ()
    context_window_tokens: CountOrZero = 0
    max_output_tokens: CountOrZero = 0
    input_modalities: tuple[Modality, ...] | None = None
    tools: bool | None = None
    price: PriceOverride | None = None


class Model(Section, frozen=True, kw_only=True):
    """A model as callers see it; its name, the alias, is the key in ``models``.

    Attributes:
        targets: Places that may serve it, in order of preference.
        strategy: How one is chosen.
        sticky: Whether a conversation stays with its target while that is worth its prompt cache.
        complexity: Settings of the strategy ``complexity``; targets from the weakest to the
            strongest.
        cascade: Settings of the strategy ``cascade``; targets from the weakest to the strongest.
        output: What is asked of answers, and of prompts.
        operations: What may be asked of it; empty = everything.
        merge: Whether embeddings of several requests may share one upstream call.
        merge_completions: Whether text completions may, as an array of prompts: not every provider
            takes one, and all wait for the longest answer.
        cache_ttl_s: How long its answers are kept; 0 = never, null = as ``cache`` says.
        semantic: Mode of the semantic cache; null = as ``cache`` says.
        on_unknown: What follows when nobody knows how a call ended: ``retry`` or ``fail``.
    """

    targets: tuple[ModelTarget, ...]
    strategy: Strategy = Strategy.FIXED
    sticky: bool = True
    complexity: Complexity = Complexity()
    cascade: Cascade = Cascade()
    output: Output = Output()
    operations: tuple[Operation, ...] = ()
    merge: bool = True
    merge_completions: bool = False
    cache_ttl_s: CountOrZero | None = None
    semantic: SemanticMode | None = None
    on_unknown: OnUnknown = OnUnknown.RETRY


class VirtualKey(Section, frozen=True, kw_only=True):
    """A key that callers use.

    Attributes:
        id: Public part of the key.
        tenant: Whose key it is.
        hash: SHA-256 of the whole key, 64 hex digits. (A key carries 256 random bits, so a slow
            hash would add nothing.)
        tier: Service tier, for routing; empty = default.
        models: Aliases that it may ask for, patterns allowed; empty = all.
        disabled: Whether it is refused.
        priority: Priority of its requests unless they say another: 0 = a user waits, 1 = near real
            time, 2 = background.
        when_client_leaves: What becomes of a request whose client went away: ``cancel`` or
            ``finish``. One that asked for a resumable stream is finished in any case.
        attach_retries: Whether a client's repetition of a request that still runs waits for that
            one's answer instead of asking again.
    """

    id: str
    tenant: str
    hash: str
    tier: str = ""
    models: tuple[str, ...] = ()
    disabled: bool = False
    priority: Priority = 0
    when_client_leaves: WhenClientLeaves = WhenClientLeaves.FINISH
    attach_retries: bool = True


class KafkaProducers(Section, frozen=True, kw_only=True):
    """What records on ``inference-requests-*`` get that no gateway signed.

    Attributes:
        enabled: Whether they are served at all.
        tenant: Their tenant.
        tier: Their service tier; empty = default.
        models: Aliases that they may ask for, patterns allowed; empty = all.
    """

    enabled: bool = False
    tenant: str = "kafka"
    tier: str = ""
    models: tuple[str, ...] = ()


class CacheTtl(Section, frozen=True, kw_only=True):
    """How long answers are kept, by operation; 0 = never."""

    chat: CountOrZero = 3_600
    text_completion: CountOrZero = 3_600
    embeddings: CountOrZero = 86_400


class Cache(Section, frozen=True, kw_only=True):
    """The response cache.

    Attributes:
        enabled: Whether answers are kept and served.
        ttl_s: How long, by operation; a model's ``cache_ttl_s`` overrides it.
        max_body_bytes: Largest answer kept.
        embedded_inputs_ttl_s: How long the vector of one text is kept, beside whole answers; 0 =
            never.
        semantic: The semantic tier.
    """

    enabled: bool = True
    ttl_s: CacheTtl = CacheTtl()
    embedded_inputs_ttl_s: CountOrZero = 86_400
    semantic: Semantic = Semantic()
    max_body_bytes: Annotated[int, msgspec.Meta(ge=1, le=MAX_BODY_BYTES)] = 1024 * 1024


class Limits(Section, frozen=True, kw_only=True):
    """What a request may ask for.

    Attributes:
        request_timeout_s: Deadline of a request that names none.
        max_deadline_s: Longest deadline that a request may name.
        max_body_bytes: Largest request body.
    """

    request_timeout_s: Seconds = 600.0
    max_deadline_s: Seconds = float(MAX_DEADLINE_S)
    max_body_bytes: Annotated[int, msgspec.Meta(ge=1024, le=MAX_BODY_BYTES)] = MAX_BODY_BYTES


class Streams(Section, frozen=True, kw_only=True):
    """Streams that are read again.

    Attributes:
        retention_s: How long after its first output a stream can be attached to. Not longer than
            ``result-chunks`` keeps its records.
    """

    retention_s: Annotated[float, msgspec.Meta(ge=MIN_STREAM_RETENTION_S, le=MAX_DEADLINE_S)] = (
        1_800.0
    )


class BatchWindow(Section, frozen=True, kw_only=True):
    """When a window of requests closes: whichever comes first.

    Attributes:
        window_ms: Time since its first request; 0 = every request at once.
        max_count: Requests.
        max_tokens: Estimated input tokens.
        max_bytes: Bytes of request bodies.
    """

    window_ms: WindowMs = 5.0
    max_count: WindowCount = 64
    max_tokens: Count = 100_000
    max_bytes: Annotated[int, msgspec.Meta(ge=1, le=MAX_BODY_BYTES)] = 1024 * 1024


class EmbeddingsWindow(BatchWindow, frozen=True, kw_only=True):
    """A window of embeddings: one upstream call serves all of it, so it may be longer."""

    window_ms: WindowMs = 10.0
    max_count: WindowCount = 256
    max_tokens: Count = 200_000


class Batcher(Section, frozen=True, kw_only=True):
    """Windows of the batcher, by operation."""

    chat: BatchWindow = BatchWindow()
    text_completion: BatchWindow = BatchWindow()
    embeddings: EmbeddingsWindow = EmbeddingsWindow()


class Retries(Section, frozen=True, kw_only=True):
    """Calls repeated after an error that comes before the first token.

    Attributes:
        max_attempts: Calls for one request, all targets together.
        budget_ratio: Repetitions for each first call, over all requests.
        backoff_base_ms: Wait before the first repetition; doubled with each, with jitter.
        backoff_max_ms: Longest wait, unless the provider asks for more.
    """

    max_attempts: Annotated[int, msgspec.Meta(ge=1, le=MAX_ATTEMPTS)] = MAX_ATTEMPTS
    budget_ratio: Ratio = 0.1
    backoff_base_ms: Annotated[int, msgspec.Meta(ge=1, le=60_000)] = 200
    backoff_max_ms: Annotated[int, msgspec.Meta(ge=1, le=60_000)] = 5_000


class Configuration(Section, frozen=True, kw_only=True):
    """The whole file.

    Attributes:
        providers: Places that serve models, by name.
        models: Models as callers see them, by alias. An alias that ends in ``*`` matches every name
            that begins so; the exact name wins, then the longest beginning.
        keys: Virtual keys.
        kafka_producers: What requests get that came by Kafka alone.
        features: How long answers are, by the caller's name for what it is building.
        cache: The response cache.
        limits: What a request may ask for.
        streams: Streams that are read again.
        batcher: Windows of the batcher.
        retries: Calls repeated after an error.
        prices: Prices by ``provider/model``, where the catalog has none or another; a final ``*``
            matches every name that begins so.
    """

    providers: dict[str, Provider] = msgspec.field(default_factory=dict)
    models: dict[str, Model] = msgspec.field(default_factory=dict)
    keys: tuple[VirtualKey, ...] = ()
    kafka_producers: KafkaProducers = KafkaProducers()
    features: dict[str, FeatureOutput] = msgspec.field(default_factory=dict)
    cache: Cache = Cache()
    limits: Limits = Limits()
    streams: Streams = Streams()
    batcher: Batcher = Batcher()
    retries: Retries = Retries()
    prices: dict[str, PriceOverride] = msgspec.field(default_factory=dict)
