"""Holds JSON against a JSON Schema with a bounded amount of work. Pure.

Admission has refused schemas that go round in circles
(``services.shared.domain.admission.json_schemas``). What is left can still be slow on a large
answer, so each keyword that is applied is a step, of which there are only so many (``effort``); an
answer that could not be checked is not called wrong. No reference is fetched.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import jsonschema
import msgspec
from jsonschema.protocols import Validator
from referencing import Registry
from referencing.exceptions import Unresolvable

from services.model_caller.levers.effort import TooMuch, allowed, allowing
from services.model_caller.levers.patterns import Keyword, NotMatched, with_patterns


def why_not(schema: dict[str, Any], value: Any) -> str | None:
    """What of a value is against a schema, as one sentence; None = nothing, or it is not known.

    The sentence names the place and the rule, and quotes nothing of the value.

    Raises:
        TooMuch: More steps are needed than are left, and whoever allowed them wants to know.
    """
    effort = allowed()
    try:
        with allowing(effort):
            error = next(
                _validator(msgspec.json.encode(schema, order="sorted")).iter_errors(value), None
            )
    except TooMuch:
        if effort.gives_up:
            return None
        raise
    except (NotMatched, Unresolvable, RecursionError, jsonschema.SchemaError):
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


def _counted(keyword: Keyword) -> Keyword:
    def apply(
        validator: Validator, rule: Any, value: Any, schema: Any
    ) -> Iterator[jsonschema.ValidationError]:
        allowed().step()
        yield from keyword(validator, rule, value, schema) or ()

    return apply


def _unique_items(
    validator: Validator, rule: Any, value: Any, schema: Any
) -> Iterator[jsonschema.ValidationError]:
    """The library compares each with each; equal values have one deterministic encoding."""
    del validator, schema
    if rule and isinstance(value, list):
        seen = {msgspec.json.encode(item, order="deterministic") for item in value}
        if len(seen) < len(value):
            yield jsonschema.ValidationError("has non-unique elements")


_KEYWORDS = {
    **with_patterns(dict(jsonschema.Draft202012Validator.VALIDATORS)),
    "uniqueItems": _unique_items,
}
_Counting = jsonschema.validators.extend(  # type: ignore[no-untyped-call]
    jsonschema.Draft202012Validator,
    {name: _counted(keyword) for name, keyword in _KEYWORDS.items()},
)
