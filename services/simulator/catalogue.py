"""The models that exist without any option."""

from collections.abc import Iterable

from services.simulator.behaviour import Behaviour, Operation

_TEXT = frozenset({Operation.CHAT, Operation.COMPLETION})
_EMBEDDING = frozenset({Operation.EMBEDDING})


def _by_name(models: Iterable[Behaviour]) -> dict[str, Behaviour]:
    return {model.base: model for model in models}


def _text(name: str, *, ttft_ms: float, tokens_per_s: float, context_tokens: int) -> Behaviour:
    return Behaviour(
        model=name,
        base=name,
        operations=_TEXT,
        ttft_ms=ttft_ms,
        ttft_spread_ratio=0.4,
        tokens_per_s=tokens_per_s,
        context_tokens=context_tokens,
    )


def _embedding(name: str, **work: float) -> Behaviour:
    return Behaviour(
        model=name,
        base=name,
        operations=_EMBEDDING,
        context_tokens=8_192,
        delay_ms=work.get("delay_ms", 0.0),
        per_item_ms=work.get("per_item_ms", 0.0),
        parallel=int(work.get("parallel", 0)),
    )


CATALOGUE = _by_name(
    [
        _text("sim-fast", ttft_ms=0, tokens_per_s=0, context_tokens=128_000),
        _text("sim-mini", ttft_ms=150, tokens_per_s=150, context_tokens=16_384),
        _text("sim-chat", ttft_ms=300, tokens_per_s=60, context_tokens=128_000),
        _text("sim-large", ttft_ms=700, tokens_per_s=35, context_tokens=200_000),
        _text("sim-slow", ttft_ms=2_000, tokens_per_s=12, context_tokens=32_768),
        _embedding("sim-embed"),
        _embedding("sim-embed-serial", delay_ms=20, per_item_ms=0.5, parallel=1),
    ]
)
"""Every base model by its name."""
