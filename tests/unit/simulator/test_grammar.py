"""Model names: every option, and everything that is not one."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.simulator.behaviour import Behaviour, Fault, FaultKind, RetryAfter, UnknownModel
from services.simulator.catalogue import CATALOGUE
from services.simulator.decide import behaviour_from_model
from services.simulator.grammar import OPTIONS
from tests.unit.simulator.asks import known

README = Path(__file__).parents[3] / "services/simulator/README.md"


@pytest.mark.parametrize(
    ("option", "field", "value"),
    [
        ("tokens=7", "output_tokens", 7),
        ("tokens=0", "output_tokens", 0),
        ("context=100", "context_tokens", 100),
        ("ttft=1.5s", "ttft_ms", 1_500.0),
        ("ttft=2m", "ttft_ms", 120_000.0),
        ("spread=0.25", "ttft_spread_ratio", 0.25),
        ("tps=50", "tokens_per_s", 50.0),
        ("drip=10s", "tokens_per_s", 0.1),
        ("echo", "echo", True),
        ("dim=8", "dimensions", 8),
        ("delay=20ms", "delay_ms", 20.0),
        ("per-item=0.5ms", "per_item_ms", 0.5),
        ("parallel=2", "parallel", 2),
        ("rpm=60", "requests_per_min", 60),
        ("tpm=1000", "tokens_per_min", 1_000),
        ("fail-first=2", "fail_first", 2),
        ("retry-after=2", "retry_after", RetryAfter("seconds", 2_000.0)),
        ("retry-after=3s", "retry_after", RetryAfter("seconds", 3_000.0)),
        ("retry-after=250ms", "retry_after", RetryAfter("ms", 250.0)),
        ("retry-after-date=5s", "retry_after", RetryAfter("date", 5_000.0)),
        ("reject=poison", "reject", "poison"),
    ],
)
def test_option_changes_its_field(option: str, field: str, value: object) -> None:
    """An option that is no fault sets one field of the behaviour."""
    behaviour = known(f"sim-chat:{option}")
    assert getattr(behaviour, field) == value
    assert behaviour.faults == ()


@pytest.mark.parametrize(
    ("option", "fault"),
    [
        ("fail", Fault(FaultKind.FAIL, 500)),
        ("fail=429", Fault(FaultKind.FAIL, 429)),
        ("fail=quota", Fault(FaultKind.FAIL, "quota")),
        ("fail=500@0.1", Fault(FaultKind.FAIL, 500, 0.1)),
        ("cut@0.5", Fault(FaultKind.CUT, 10, 0.5)),
        ("redirect", Fault(FaultKind.REDIRECT)),
        ("hang", Fault(FaultKind.HANG, "headers")),
        ("hang=headers", Fault(FaultKind.HANG, "headers")),
        ("hang=0", Fault(FaultKind.HANG, 0)),
        ("cut=3", Fault(FaultKind.CUT, 3)),
        ("eof", Fault(FaultKind.EOF, 10)),
        ("error=2", Fault(FaultKind.ERROR, 2)),
        ("badjson", Fault(FaultKind.BAD_JSON, 5)),
        ("lie-usage", Fault(FaultKind.LIE_USAGE, "more")),
        ("lie-usage=negative", Fault(FaultKind.LIE_USAGE, "negative")),
        ("no-usage", Fault(FaultKind.NO_USAGE)),
        ("dup-chunk", Fault(FaultKind.DUP_CHUNK, 3)),
        ("big-chunk=64kB", Fault(FaultKind.BIG_CHUNK, 64_000)),
        ("after-end", Fault(FaultKind.AFTER_END)),
        ("wrong-model", Fault(FaultKind.WRONG_MODEL)),
        ("gzip-bomb", Fault(FaultKind.GZIP_BOMB, 100_000_000)),
        ("split-utf8", Fault(FaultKind.SPLIT_UTF8)),
        ("content-filter=4", Fault(FaultKind.CONTENT_FILTER, 4)),
    ],
)
def test_fault_option_adds_its_fault(option: str, fault: Fault) -> None:
    """A fault option adds exactly one fault, with its default where it is bare."""
    assert known(f"sim-fast:{option}").faults == (fault,)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("", "the simulator has sim-fast"),
        ("gpt-4o", "the simulator has sim-fast"),
        ("sim-fast:", "option `` is not known"),
        ("sim-fast:nonsense", "option `nonsense` is not known"),
        ("sim-fast:ECHO", "option `ECHO` is not known"),
        ("sim-fast:tokens", "option `tokens` wants a value"),
        ("sim-fast:tokens=-1", "wants a whole number from 0 to 100000"),
        ("sim-fast:tokens=²", "wants a whole number"),
        ("sim-fast:tokens=5:tokens=6", "option `tokens` is given twice"),
        ("sim-fast:ttft=20", "wants a duration"),
        ("sim-fast:tps=fast", "wants a number from 0 to 1e+06"),
        ("sim-fast:drip=0ms", "above zero"),
        ("sim-fast:echo=yes", "takes no value"),
        ("sim-fast:no-usage=1", "takes no value"),
        ("sim-fast:reject=", "wants a word"),
        ("sim-fast:fail=200", "wants a whole number from 400 to 599"),
        ("sim-fast:fail=500@2", "wants a number from 0 to 1"),
        ("sim-fast:fail=500@", "wants a number from 0 to 1"),
        ("sim-fast:tokens=5@0.5", "is no fault, so it takes no @ratio"),
        ("sim-fast:lie-usage=less", "wants more, negative or zero"),
        ("sim-fast:big-chunk=10", "wants a size"),
        ("sim-fast:gzip-bomb=999MB", "wants a size"),
        ("sim-fast:" + "x" * 300, "names have at most 256 characters"),
    ],
)
def test_name_outside_the_grammar_is_unknown_and_says_why(name: str, why: str) -> None:
    """A name outside the grammar is no model; the reason names the option and what it takes."""
    unknown = behaviour_from_model(name)
    assert isinstance(unknown, UnknownModel)
    assert why in unknown.why


def test_options_combine_in_any_order() -> None:
    """The order of options in a name does not matter, except to the name."""
    one = known("sim-chat:spread=1:ttft=10ms:fail=503:cut=2")
    other = known("sim-chat:cut=2:fail=503:ttft=10ms:spread=1")
    assert (one.ttft_ms, one.ttft_spread_ratio, one.faults) == (
        other.ttft_ms,
        other.ttft_spread_ratio,
        other.faults,
    )
    assert one.ttft_spread_ratio == 1


def test_fixed_time_to_first_token_has_no_spread() -> None:
    """``ttft`` alone means exactly that time, although the base model's time is spread."""
    assert CATALOGUE["sim-chat"].ttft_spread_ratio > 0
    assert known("sim-chat:ttft=200ms").ttft_spread_ratio == 0


def test_base_models_are_names_without_options() -> None:
    """Each base model answers to its own name, unchanged."""
    for name, behaviour in CATALOGUE.items():
        assert known(name) == behaviour


@given(st.lists(st.sampled_from([*OPTIONS, "x", "=", "@", "10", "1ms", ":"]), max_size=12))
def test_any_text_is_read_without_an_exception(pieces: list[str]) -> None:
    """Every text is either a behaviour or an unknown model, never an exception."""
    name = "sim-fast:" + "".join(pieces)
    read = behaviour_from_model(name)
    assert isinstance(read, Behaviour | UnknownModel)
    assert read.model == name


def test_readme_explains_exactly_the_options_and_models_that_exist() -> None:
    """The documented grammar is the grammar: same options, same base models."""
    text = README.read_text().partition("## Base models")[2]
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    documented = {re.split(r"[=`]", line.removeprefix("| `"))[0] for line in rows}
    assert documented == {*OPTIONS, *CATALOGUE}
