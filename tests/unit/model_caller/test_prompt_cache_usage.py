"""What providers say of their prompt caches, and what becomes of it in the ledger."""

from typing import Any

import pytest

from services.model_caller.usage import reported_usage
from services.shared.domain.money import Price
from tests.support.example_events import batch
from tests.support.scripted_provider import Script, ScriptedProvider, whole
from tests.unit.model_caller.callers import TARGETS, Caller, member

DETAILS = "prompt_tokens_details"
PRICE = Price(
    input_nanousd_per_mtok=1_000_000_000,
    cached_input_nanousd_per_mtok=100_000_000,
    cache_write_nanousd_per_mtok=1_250_000_000,
    output_nanousd_per_mtok=0,
)


@pytest.mark.parametrize(
    ("said", "cached", "written"),
    [
        ({}, 0, 0),
        ({DETAILS: {"cached_tokens": 60}}, 60, 0),
        ({DETAILS: {"cached_tokens": 60, "cache_write_tokens": 30}}, 60, 30),
        ({DETAILS: {"cache_creation_tokens": 30}}, 0, 30),
        ({"cache_read_input_tokens": 60, "cache_creation_input_tokens": 30}, 60, 30),
        ({DETAILS: {"cached_tokens": 60}, "cache_read_input_tokens": 60}, 60, 0),
        ({DETAILS: None, "cache_creation_input_tokens": "many"}, 0, 0),
        ({DETAILS: {"cached_tokens": 90}, "cache_creation_input_tokens": 30}, 90, 10),
        ({DETAILS: {"cached_tokens": 900}, "cache_creation_input_tokens": 30}, 100, 0),
    ],
)
def test_reads_and_writes_are_found_where_providers_put_them(
    said: dict[str, Any], cached: int, written: int
) -> None:
    """Together they are no more than the input."""
    usage = reported_usage({"prompt_tokens": 100, "completion_tokens": 1, **said}, has_output=True)
    assert usage is not None
    assert (usage.cached_input_tokens, usage.cache_write_input_tokens) == (cached, written)


async def test_each_kind_of_token_has_its_price_and_reads_are_told_as_saved() -> None:
    """The ledger has what was paid, and what the same would have cost more without the cache."""
    usage = {
        "prompt_tokens": 100,
        "completion_tokens": 1,
        DETAILS: {"cached_tokens": 60, "cache_write_tokens": 30},
    }
    provider = ScriptedProvider(lambda _asked: _answer(usage))
    caller = Caller({"first": provider})
    (target,) = [type(it)(provider=it.provider, model=it.model, price=PRICE) for it in TARGETS[:1]]
    served = await caller.serve(batch(member(1, targets=(target,))))
    (row,) = served.rows
    assert row.cost_nanousd == 10 * 1_000 + 60 * 100 + 30 * 1_250
    assert row.saved_nanousd == 60 * 900
    assert row.usage.cache_write_input_tokens == 30
    assert served.one.calls[0].saved_nanousd == row.saved_nanousd
    labels = {"provider": "first", "model": "one"}
    name = "millrace_model_calls_saved_nanousd_total"
    assert caller.registry.get_sample_value(name, labels) == 60 * 900


def _answer(usage: dict[str, Any]) -> Script:
    return whole(usage=usage)
