"""Rules of the fields that several operations share."""

from collections.abc import Mapping
from typing import Any

from services.shared.domain.admission.cache_policy import cache_controls
from services.shared.domain.admission.faults import Fault, too_long, wrong_type, wrong_value
from services.shared.domain.admission.limits import (
    MAX_CHOICES,
    MAX_LOGIT_BIASES,
    MAX_METADATA_ENTRIES,
    MAX_METADATA_KEY_CHARS,
    MAX_METADATA_VALUE_CHARS,
    MAX_NAME_CHARS,
    MAX_OUTPUT_TOKENS,
    MAX_STOP_CHARS,
    MAX_STOPS,
    MAX_TOKEN_ID,
    MAX_USER_CHARS,
)
from services.shared.domain.admission.rules import (
    Rule,
    array,
    boolean,
    bounded_text,
    integer,
    name,
    number,
    shape,
)

_INT64_MIN, _INT64_MAX = -(2**63), 2**63 - 1
_MAX_BIAS = 100
_MAX_TOKEN_DIGITS = len(str(MAX_TOKEN_ID))

user_name = name(max_chars=MAX_USER_CHARS, may_be_empty=True)
_model_name = name(max_chars=MAX_NAME_CHARS)
word = name(max_chars=MAX_NAME_CHARS)
_metadata_key = name(max_chars=MAX_METADATA_KEY_CHARS)
_stop = bounded_text(least=1, most=MAX_STOP_CHARS)
_stops = array(_stop, of="strings", most=MAX_STOPS)
_bias = number(-_MAX_BIAS, _MAX_BIAS)


def model(value: object) -> Fault | None:
    """Accepts names that could be a model's: printable ASCII, as they return in headers."""
    fault = _model_name(value)
    if fault is None and not str(value).isascii():
        return wrong_value("expected ASCII characters")
    return fault


def metadata(value: object) -> Fault | None:
    """Accepts objects of a few short strings."""
    if type(value) is not dict:
        return wrong_type("an object", value)
    if len(value) > MAX_METADATA_ENTRIES:
        return too_long("entries", MAX_METADATA_ENTRIES, len(value))
    for key, entry in value.items():
        if _metadata_key(key) is not None:
            most = MAX_METADATA_KEY_CHARS
            return wrong_value(f"expected keys of 1 to {most} printable characters")
        if type(entry) is not str:
            return wrong_type("an object of strings", entry)
        if len(entry) > MAX_METADATA_VALUE_CHARS:
            return too_long("characters in each value", MAX_METADATA_VALUE_CHARS, len(entry))
    return None


def stop(value: object) -> Fault | None:
    """Accepts a stop sequence, or an array of some."""
    return _stop(value) if type(value) is str else _stops(value)


def logit_bias(value: object) -> Fault | None:
    """Accepts objects from token id to bias."""
    if type(value) is not dict:
        return wrong_type("an object", value)
    if len(value) > MAX_LOGIT_BIASES:
        return too_long("entries", MAX_LOGIT_BIASES, len(value))
    for token, bias in value.items():
        if not _is_token_id(token):
            return wrong_value(f"expected token ids up to {MAX_TOKEN_ID} as keys")
        fault = _bias(bias)
        if fault is not None:
            return fault
    return None


def _is_token_id(text: str) -> bool:
    is_number = text.isascii() and text.isdigit() and len(text) <= _MAX_TOKEN_DIGITS
    return is_number and int(text) <= MAX_TOKEN_ID


COMMON: Mapping[str, Rule] = {
    "model": model,
    "user": user_name,
    "metadata": metadata,
    "cache": cache_controls,
    "safety_identifier": user_name,
    "prompt_cache_key": user_name,
    "prompt_cache_retention": word,
    "service_tier": word,
    "store": boolean,
}
"""Fields of every operation."""

SAMPLING: Mapping[str, Rule] = {
    "stream": boolean,
    "stream_options": shape({"include_usage": boolean, "include_obfuscation": boolean}),
    "max_tokens": integer(1, MAX_OUTPUT_TOKENS),
    "temperature": number(0, 2),
    "top_p": number(0, 1),
    "frequency_penalty": number(-2, 2),
    "presence_penalty": number(-2, 2),
    "n": integer(1, MAX_CHOICES),
    "seed": integer(_INT64_MIN, _INT64_MAX),
    "stop": stop,
    "logit_bias": logit_bias,
}
"""Fields of the operations that generate text."""


def stream_options_agree(document: dict[str, Any]) -> Fault | None:
    """Options of a stream are for streams."""
    if document.get("stream_options") is not None and document.get("stream") is not True:
        return wrong_value("only allowed when 'stream' is true").within("stream_options")
    return None
