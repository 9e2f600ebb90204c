"""``millrace.yaml``: what is read, and how mistakes are named."""

import typing
from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from services.shared.adapters.yaml_configuration import (
    MAX_FILE_BYTES,
    check_configuration,
    configuration_from_yaml,
    read_configuration,
)
from services.shared.domain.configuration import Configuration
from services.shared.domain.configuration_types import Section
from services.shared.domain.errors import InvalidConfiguration

GOOD = """\
providers:
  openai:
    base_url: https://api.openai.com/v1
    api_key_env: [OPENAI_API_KEY, "env:SECOND"]
    timeouts: {connect_s: 2}
models:
  fast:
    strategy: weighted
    targets:
      - {provider: openai, model: gpt-4o-mini, weight: 3, tools: no}
"""
EXAMPLE = Path(__file__).parents[3] / "millrace.example.yaml"


def mistakes_of(text: str) -> list[str]:
    """Mistakes of a file called ``m.yaml``."""
    return list(configuration_from_yaml(text, name="m.yaml").mistakes)


def changed(old: str, new: str) -> str:
    """The good file with one text replaced."""
    assert old in GOOD
    return GOOD.replace(old, new, 1)


def test_a_good_file_is_read_into_its_types() -> None:
    """Texts, lists, enumerations, numbers and truths arrive as such; the rest is default."""
    read = configuration_from_yaml(GOOD, name="m.yaml")
    assert read.mistakes == ()
    openai = read.configuration.providers["openai"]
    assert openai.api_key_names == ("OPENAI_API_KEY", "SECOND")
    assert (openai.timeouts.connect_s, openai.timeouts.total_s) == (2.0, 600.0)
    (target,) = read.configuration.models["fast"].targets
    assert (target.weight, target.tools) == (3, False)
    assert read.configuration.cache == Configuration().cache


@pytest.mark.parametrize(
    ("text", "mistakes"),
    [
        pytest.param(
            changed("provider: openai", "provider: opnai"),
            [
                "m.yaml:10: models.fast.targets[0].provider: 'opnai' is not a provider; "
                "did you mean 'openai'?"
            ],
            id="unknown_provider",
        ),
        pytest.param(
            changed("strategy:", "stratgy:"),
            ["m.yaml:8: models.fast.stratgy: is not known here; did you mean 'strategy'?"],
            id="unknown_key",
        ),
        pytest.param(
            changed("weighted", "wieghted"),
            [
                "m.yaml:8: models.fast.strategy: 'wieghted' is not one of fixed, weighted, tier, "
                "complexity, cascade, cheapest, fastest, least_busy; "
                "did you mean 'weighted'?"
            ],
            id="enumeration",
        ),
        pytest.param(
            changed("weight: 3", "weight: 3.5"),
            [
                "m.yaml:10: models.fast.targets[0].weight: '3.5' is not a whole number "
                "from 0 to 1,000,000"
            ],
            id="whole_number",
        ),
        pytest.param(
            changed("connect_s: 2", "connect_s: 0"),
            [
                "m.yaml:5: providers.openai.timeouts.connect_s: '0' is not a number above 0 "
                "and at most 86,400"
            ],
            id="bounds",
        ),
        pytest.param(
            changed("tools: no", "tools: perhaps"),
            ["m.yaml:10: models.fast.targets[0].tools: 'perhaps' is not true or false"],
            id="truth",
        ),
        pytest.param(
            changed("connect_s: 2", "connect_s: [2]"),
            [
                "m.yaml:5: providers.openai.timeouts.connect_s: is not a number above 0 "
                "and at most 86,400"
            ],
            id="list_for_number",
        ),
        pytest.param(
            changed("{connect_s: 2}", "2"),
            [
                "m.yaml:5: providers.openai.timeouts: is not a section; "
                "write 'name: value' lines below it"
            ],
            id="number_for_section",
        ),
        pytest.param(
            changed("weight: 3", "price: [1]"),
            [
                "m.yaml:10: models.fast.targets[0].price: is not a section; "
                "write 'name: value' lines below it"
            ],
            id="list_for_section",
        ),
        pytest.param(
            changed("- {provider", "{provider"),
            [
                "m.yaml:9: models.fast.targets: is not a list; "
                "write its entries as '- entry' or [entry, entry]"
            ],
            id="section_for_list",
        ),
        pytest.param(
            changed("    base_url: https://api.openai.com/v1\n", ""),
            ["m.yaml:2: providers.openai.base_url: is missing; write a text"],
            id="missing",
        ),
        pytest.param(
            changed("https://api.openai.com/v1", ""),
            ["m.yaml:3: providers.openai.base_url: is missing; write a text"],
            id="no_value",
        ),
        pytest.param(
            GOOD + "  fast: {targets: []}\n",
            ["m.yaml:11: models.fast: is there twice, first on line 7; remove one"],
            id="alias_twice",
        ),
        pytest.param(
            GOOD + "cache: {ttl_s: {chat: -1}}\n",
            ["m.yaml:11: cache.ttl_s.chat: '-1' is not a whole number of at least 0"],
            id="lower_bound",
        ),
        pytest.param(
            GOOD + "prices: {openai/x: {input_usd_per_mtok: cheap}}\n",
            ["m.yaml:11: prices.openai/x.input_usd_per_mtok: 'cheap' is not an amount in USD"],
            id="amount",
        ),
        pytest.param(
            GOOD + "cache: {? [a] : 1}\n",
            ["m.yaml:11: cache: holds a name that is no text; write a plain name"],
            id="name_that_is_no_text",
        ),
        pytest.param(
            "",
            ["m.yaml:1: the file: is empty; copy millrace.example.yaml and change it"],
            id="empty",
        ),
        pytest.param(
            "- 1",
            ["m.yaml:1: the file: is not a section; write 'name: value' lines below it"],
            id="list",
        ),
    ],
)
def test_each_mistake_names_line_place_and_remedy(text: str, mistakes: list[str]) -> None:
    """One mistake gives one line, and nothing that merely follows from it."""
    assert mistakes_of(text) == mistakes


def test_all_mistakes_come_at_once_in_the_order_of_the_file() -> None:
    """Reading and checking both go on after a mistake."""
    text = (
        GOOD.replace("connect_s: 2", "conect_s: 2")
        .replace("provider: openai", "provider: nobody")
        .replace("weight: 3", "weight: x")
    )
    lines = mistakes_of(text + "retries: {max_attempts: 4}\nkeys: [{id: a}]\n")
    places = [line.split(": ")[1] for line in lines]
    assert places == [
        "providers.openai.timeouts.conect_s",
        "models.fast.targets[0].weight",
        "models.fast.targets[0].provider",
        "retries.max_attempts",
        "keys[0].tenant",
        "keys[0].hash",
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: [", "m.yaml:2: is no YAML: "),
        ("a: 'x\n", "; look at this line and the one before it"),
        ("a: 1\n\tb: 2", "; indent with spaces, not with tabs"),
        ("a: 1\n---\nb: 2", "is no YAML: "),
        ("a: \x07", "m.yaml:1: is no YAML: "),
        ("a: &x 1\nb: *x", "m.yaml:2: an alias (*name) cannot be read here"),
        ("a: &x [*x]", "m.yaml:1: an alias"),
        ("[" * 100_000, "m.yaml:1: more than 32 levels cannot be read here"),
        ("a: {" * 40, "m.yaml:1: more than 32 levels"),
    ],
)
def test_what_is_no_plain_yaml_is_refused_before_it_is_built(text: str, words: str) -> None:
    """Broken text, aliases (and so alias bombs) and endless depth end in a named line."""
    with pytest.raises(InvalidConfiguration) as refused:
        mistakes_of(text)
    assert words in str(refused.value)


@pytest.mark.parametrize("written", ["no", "4.1", "0x10", "2024-01-01", "null-ish", "'null'"])
def test_a_text_needs_no_quotes(written: str) -> None:
    """Where a text is expected, what looks like a number, a date or a truth stays as written."""
    read = configuration_from_yaml(changed("gpt-4o-mini", written), name="m.yaml")
    assert read.mistakes == ()
    assert read.configuration.models["fast"].targets[0].model == written.strip("'")


@given(st.decimals(0, 1_000_000, allow_nan=False, allow_infinity=False, places=9))
def test_amounts_never_pass_through_a_float(usd: Decimal) -> None:
    """Every amount is read digit by digit."""
    text = GOOD + f"prices: {{openai/x: {{input_usd_per_mtok: {usd:f}}}}}\n"
    price = configuration_from_yaml(text, name="m.yaml").configuration.prices["openai/x"]
    assert price.input_usd_per_mtok == usd


def test_numbers_may_be_grouped() -> None:
    """``1_000`` is a number, and so is a whole number where a fraction may stand."""
    text = GOOD + "limits: {request_timeout_s: 1_0, max_deadline_s: 1_0.5}\n"
    limits = configuration_from_yaml(text, name="m.yaml").configuration.limits
    assert (limits.request_timeout_s, limits.max_deadline_s) == (10.0, 10.5)


@pytest.mark.parametrize(("written", "mistakes"), [("59.9", 1), ("60", 0), ("1800", 0), ("1e6", 1)])
def test_streams_are_kept_for_a_minute_at_least(written: str, mistakes: int) -> None:
    """A client that was cut off has the time to come back."""
    read = configuration_from_yaml(GOOD + f"streams: {{retention_s: {written}}}\n", name="m.yaml")
    assert len(read.mistakes) == mistakes
    assert all("streams.retention_s" in it for it in read.mistakes)


def test_a_section_without_content_means_its_defaults() -> None:
    """A section whose lines are all commented out is as if left out."""
    read = configuration_from_yaml(GOOD + "cache:\nkeys:\n", name="m.yaml")
    assert read.mistakes == ()
    assert read.configuration.cache == Configuration().cache


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["providers", "models", "keys", "targets", "provider", "m", "price", "x"]
                ),
                inner,
                max_size=4,
            )
        ),
        max_leaves=12,
    )
)
def test_any_document_is_read_or_refused_in_words(document: object) -> None:
    """Whatever stands in a file, it ends in a configuration or in named mistakes."""
    read = configuration_from_yaml(yaml.safe_dump(document), name="m.yaml")
    assert isinstance(read.configuration, Configuration)
    assert all(line.startswith("m.yaml:") for line in read.mistakes)
    assert read.mistakes  # none of these documents declares a provider that works


def test_a_file_with_mistakes_is_refused_with_all_of_them(tmp_path: Path) -> None:
    """Services get one error that holds every line; the checker gets them as a list."""
    path = tmp_path / "millrace.yaml"
    path.write_text(changed("provider: openai", "provider: x") + "nonsense: 1\n")
    lines = check_configuration(path).mistakes
    assert len(lines) == 2
    with pytest.raises(InvalidConfiguration) as refused:
        read_configuration(path)
    assert str(refused.value).splitlines() == list(lines)
    assert all(line.startswith(f"{path}:") for line in lines)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot be read: No such file"),
        (b"a: 1\nb: \xff", "millrace.yaml:2: is not UTF-8"),
        (b"#" * (MAX_FILE_BYTES + 1), "is larger than"),
    ],
)
def test_a_file_that_cannot_be_read_says_why(
    tmp_path: Path, content: bytes | None, words: str
) -> None:
    """Absent, wrongly encoded and oversized files are refused by name."""
    path = tmp_path / "millrace.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InvalidConfiguration, match=r"millrace\.yaml") as refused:
        read_configuration(path)
    assert words in str(refused.value)


def test_the_example_has_no_mistake() -> None:
    """The documented file works as it stands."""
    assert check_configuration(EXAMPLE).mistakes == ()


def test_the_example_shows_every_key() -> None:
    """Each field of each section that is part of the configuration stands in the example."""
    shown = _fields_in(yaml.safe_load(EXAMPLE.read_text()), Configuration)
    missing = {
        f"{kind.__name__}.{field}"
        for kind in _sections()
        for field in kind.__struct_fields__
        if (kind, field) not in shown
    }
    assert not missing


def test_what_the_example_calls_a_default_is_one() -> None:
    """Values of unmarked lines are the defaults of the types."""
    read = configuration_from_yaml(EXAMPLE.read_text(), name="example").configuration
    for section in ("cache", "limits", "batcher", "retries"):
        assert getattr(read, section) == getattr(Configuration(), section)
    openai = read.providers["openai"]
    assert msgspec.structs.replace(openai, api_key_env=()) == type(openai)(base_url=openai.base_url)


def _sections() -> set[type[Section]]:
    found: set[type[Section]] = set()
    waiting: list[type[Section]] = [Section]
    while waiting:
        for kind in waiting.pop().__subclasses__():
            if kind not in found:
                found.add(kind)
                waiting.append(kind)
    return found


def _fields_in(document: object, kind: typing.Any) -> set[tuple[object, str]]:
    """Fields of sections that a document of a type names."""
    members = typing.get_args(kind)
    if isinstance(document, list):
        return _union(_fields_in(entry, members[0]) for entry in document)
    if not isinstance(document, dict):
        return set()
    if typing.get_origin(kind) is dict:
        return _union(_fields_in(value, members[1]) for value in document.values())
    section: type[Section] = members[0] if members else kind  # ``Section | None`` or the section
    types = {field.name: field.type for field in msgspec.structs.fields(section)}
    inside = _union(_fields_in(value, types[name]) for name, value in document.items())
    return inside | {(section, name) for name in document}


def _union(sets: Iterable[set[tuple[object, str]]]) -> set[tuple[object, str]]:
    return set().union(*sets)
