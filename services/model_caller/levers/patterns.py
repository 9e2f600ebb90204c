"""The keywords of JSON Schema that hold text against a caller's regular expressions. Pure.

RE2 takes time linear in the text, whatever the expression: those of a schema are its writer's, and
the text is a model's, so between them they could keep a backtracking engine busy for ever. What RE2
does not know (looking around, back references) is not checked.
"""

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

import re2
from jsonschema import ValidationError
from jsonschema.protocols import Validator

Keyword = Callable[[Validator, Any, Any, Any], Iterator[ValidationError] | None]

MAX_MATCHED_CHARS = 10_000
"""A longer text is not held against a regular expression."""

_MAX_COMPILED_BYTES = 1 << 20
_OPTIONS = re2.Options()
_OPTIONS.max_mem = _MAX_COMPILED_BYTES
_OPTIONS.log_errors = False


class NotMatched(Exception):
    """A text is too long for a regular expression, or that is none that RE2 knows."""


def matches(pattern: str, text: str) -> bool:
    """Whether a pattern is found in a text.

    Raises:
        NotMatched: That cannot be said. Not retriable.
    """
    if len(text) > MAX_MATCHED_CHARS:
        raise NotMatched
    return _compiled(pattern).search(text) is not None


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> Any:
    try:
        return re2.compile(pattern, _OPTIONS)
    except re2.error as error:
        raise NotMatched from error


def _pattern(validator: Validator, rule: Any, value: Any, schema: Any) -> Iterator[ValidationError]:
    del validator, schema
    if isinstance(value, str) and not matches(rule, value):
        yield ValidationError("does not match")


def _pattern_properties(
    validator: Any, rule: Any, value: Any, schema: Any
) -> Iterator[ValidationError]:
    del schema
    if isinstance(value, dict):
        for pattern, of_matching in rule.items():
            for name, content in value.items():
                if matches(pattern, name):
                    yield from validator.descend(content, of_matching, path=name)


def _additional_properties(
    validator: Any, rule: Any, value: Any, schema: Any
) -> Iterator[ValidationError]:
    if not isinstance(value, dict):
        return
    named, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
    for name, content in value.items():
        if name in named or any(matches(pattern, name) for pattern in patterns):
            continue
        if rule is False:
            yield ValidationError("has a property too many")
        else:
            yield from validator.descend(content, rule, path=name)


def _unevaluated_properties(library: Keyword) -> Keyword:
    """The library's, where it needs no regular expression."""

    def apply(
        validator: Any, rule: Any, value: Any, schema: Any
    ) -> Iterator[ValidationError] | None:
        if _mentions(validator.schema, "patternProperties"):
            raise NotMatched
        return library(validator, rule, value, schema)

    return apply


def _mentions(schema: Any, keyword: str) -> bool:
    """Whether a schema has a keyword anywhere, or something of that name."""
    if isinstance(schema, dict):
        return keyword in schema or any(_mentions(part, keyword) for part in schema.values())
    return isinstance(schema, list) and any(_mentions(part, keyword) for part in schema)


def with_patterns(keywords: dict[str, Keyword]) -> dict[str, Keyword]:
    """Keywords of which none uses a backtracking engine on a text.

    Args:
        keywords: The library's, by name.
    """
    return {
        **keywords,
        "pattern": _pattern,
        "patternProperties": _pattern_properties,
        "additionalProperties": _additional_properties,
        "unevaluatedProperties": _unevaluated_properties(keywords["unevaluatedProperties"]),
    }
