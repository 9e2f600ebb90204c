"""Holds JSON against a JSON Schema with a bounded amount of work. Pure.

Admission has refused schemas that go round in circles and regular expressions that explode
(``services.shared.domain.admission.json_schemas``). What is left can still be slow on a large
answer, so each keyword that is applied counts, and beyond ``MAX_STEPS`` the check gives up; an
answer that could not be checked is not called wrong. No reference is fetched.
"""

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

import jsonschema
import msgspec
from jsonschema.protocols import Validator
from referencing import Registry
from referencing.exceptions import Unresolvable

MAX_STEPS = 20_000
"""Keywords applied to values; about 100 ms."""

MAX_MATCHED_CHARS = 10_000
"""A longer text is not held against a regular expression."""

_Keyword = Callable[[Validator, Any, Any, Any], Iterator[jsonschema.ValidationError] | None]


class _TooMuch(Exception):
    """The check takes more work than it may."""


class _Steps:
    """How much work is left for the check that runs; checks do not overlap."""

    left = 0


def why_not(schema: dict[str, Any], value: Any) -> str | None:
    """What of a value is against a schema, as one sentence; None = nothing, or it is not known.

    The sentence names the place and the rule, and quotes nothing of the value.
    """
    try:
        _Steps.left = MAX_STEPS
        error = next(
            _validator(msgspec.json.encode(schema, order="sorted")).iter_errors(value), None
        )
    except (_TooMuch, Unresolvable, RecursionError, jsonschema.SchemaError):
        return None
    except Exception:  # noqa: BLE001  # a keyword's own failure at a malformed schema: any kind
        return None
    if error is None:
        return None
    place = "/".join(map(str, error.absolute_path))[:100]
    return f"the value at '/{place}' is against the schema's '{error.validator}'"


@lru_cache(maxsize=256)
def _validator(schema: bytes) -> Validator:
    validator: Validator = _Counting(msgspec.json.decode(schema), registry=Registry())
    return validator


def _counted(keyword: _Keyword) -> _Keyword:
    def apply(
        validator: Validator, rule: Any, value: Any, schema: Any
    ) -> Iterator[jsonschema.ValidationError]:
        _Steps.left -= 1
        if _Steps.left < 0:
            raise _TooMuch
        yield from keyword(validator, rule, value, schema) or ()

    return apply


def _pattern(
    validator: Validator, rule: Any, value: Any, schema: Any
) -> Iterator[jsonschema.ValidationError]:
    if isinstance(value, str) and len(value) > MAX_MATCHED_CHARS:
        raise _TooMuch
    yield from _KEYWORDS["pattern"](validator, rule, value, schema) or ()


def _unique_items(
    validator: Validator, rule: Any, value: Any, schema: Any
) -> Iterator[jsonschema.ValidationError]:
    """The library compares each with each; equal values have one deterministic encoding."""
    del validator, schema
    if rule and isinstance(value, list):
        seen = {msgspec.json.encode(item, order="deterministic") for item in value}
        if len(seen) < len(value):
            yield jsonschema.ValidationError("has non-unique elements")


_KEYWORDS: dict[str, _Keyword] = dict(jsonschema.Draft202012Validator.VALIDATORS)
_Counting = jsonschema.validators.extend(  # type: ignore[no-untyped-call]
    jsonschema.Draft202012Validator,
    {
        name: _counted({"pattern": _pattern, "uniqueItems": _unique_items}.get(name, keyword))
        for name, keyword in _KEYWORDS.items()
    },
)
