"""Parsing of strangers' JSON: the same as a slow reference, bounded, and in linear time."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.shared.domain.admission.limits import (
    MAX_FIELDS,
    MAX_JSON_CONTAINERS,
    MAX_JSON_SEPARATORS,
    MAX_JSON_STRINGS,
)
from services.shared.domain.admission.strict_json import parse_object
from services.shared.domain.errors import ERRORS, PublicError
from tests.support.slow_examples import slow_examples

MAX_BYTES = 4 * 1024 * 1024
SMALL_DEPTH = 4

REFUSED = [
    pytest.param(b"", "json_empty", id="H1-empty"),
    pytest.param(b" \r\n\t", "json_empty", id="H1-white-space"),
    pytest.param(b'{"model": "m"', "json_invalid", id="H2-truncated"),
    pytest.param(b'{"model": "m', "json_invalid", id="H2-truncated-string"),
    pytest.param(b'{"model": "m"} x', "json_invalid", id="H2-trailing-garbage"),
    pytest.param(b"{}{}", "json_invalid", id="H2-two-documents"),
    pytest.param(b"null", "body_not_object", id="H3-null"),
    pytest.param(b"[]", "body_not_object", id="H3-array"),
    pytest.param(b'"text"', "body_not_object", id="H3-string"),
    pytest.param(b"1", "body_not_object", id="H3-number"),
    pytest.param(b'{"model": "a", "model": "b"}', "duplicate_key", id="H4-duplicate"),
    pytest.param(b'{"a": [{"b": 1, "c": {}, "b": 1}]}', "duplicate_key", id="H4-deep-duplicate"),
    pytest.param(rb'{"a": 1, "\u0061": 1}', "duplicate_key", id="H4-escaped-duplicate"),
    pytest.param(b'{"a": 1, "a": 1, "' + b"b" * 70_000 + b'": 1}', "duplicate_key", id="H4-large"),
    pytest.param(b'{"a": NaN}', "json_invalid", id="H5-nan"),
    pytest.param(b'{"a": Infinity}', "json_invalid", id="H5-infinity"),
    pytest.param(b'{"a": -Infinity}', "json_invalid", id="H5-minus-infinity"),
    pytest.param(b'{"a": 1e999}', "json_invalid", id="H5-overflow"),
    pytest.param(b'{"a": ' + b"[" * 500 + b"]" * 500 + b"}", "json_too_deep", id="H6-500"),
    pytest.param(b'{"a": ' + b"[" * 2_000 + b"]" * 2_000 + b"}", "json_too_deep", id="H6-2k"),
    pytest.param(b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "json_too_deep", id="H6-100k"),
    pytest.param(b'{"a": ' + b"[" * 1_000_000, "json_too_deep", id="H6-1M-unclosed"),
    pytest.param(b'{"a": ' + b"[" * 64 + b"]" * 64 + b"}", "json_too_deep", id="H6-65"),
    pytest.param(b'{"a": ' + b"9" * 5_000 + b"}", "out_of_range", id="H7-5000-digits"),
    pytest.param(b'{"a": -' + b"9" * 20 + b"}", "out_of_range", id="H7-20-digits"),
    pytest.param(b'{"a": "\xff"}', "json_invalid", id="H8-no-utf-8"),
    pytest.param(b'{"a": "\xc0\xaf"}', "json_invalid", id="H8-overlong"),
    pytest.param(rb'{"a": "\ud800"}', "json_invalid", id="H9-lone-high-surrogate"),
    pytest.param(rb'{"a": "\udc00 "}', "json_invalid", id="H9-lone-low-surrogate"),
    pytest.param(rb'{"\ud800\u0041": 1}', "json_invalid", id="H9-surrogate-in-key"),
    pytest.param(b'{"a": "\xed\xa0\xbd\xed\xb8\x80"}', "json_invalid", id="H9-cesu-8"),
    pytest.param(b'\xef\xbb\xbf{"a": 1}', "json_invalid", id="H11-bom"),
    pytest.param('{"a": 1}'.encode("utf-16"), "json_invalid", id="H11-utf-16"),
    pytest.param('{"a": 1}'.encode("utf-16-le"), "json_invalid", id="H11-utf-16-le"),
    pytest.param('{"a": "é"}'.encode("latin-1"), "json_invalid", id="H11-latin-1"),
    pytest.param(b'{"a": "' + b"x" * MAX_BYTES + b'"}', "body_too_large", id="H13-too-large"),
    pytest.param(
        b'{"a": [' + b'"",' * MAX_JSON_STRINGS + b'""]}', "json_too_complex", id="many-strings"
    ),
    pytest.param(
        b'{"a": [' + b"{}," * MAX_JSON_CONTAINERS + b"{}]}", "json_too_complex", id="many-objects"
    ),
    pytest.param(
        b'{"a": [' + b"0," * (MAX_JSON_SEPARATORS + 1) + b"0]}",
        "json_too_complex",
        id="many-values",
    ),
    pytest.param(
        json.dumps(dict.fromkeys(map(str, range(MAX_FIELDS + 1)))).encode(),
        "json_too_complex",
        id="many-fields",
    ),
]


@pytest.mark.parametrize(("body", "code"), REFUSED)
def test_bad_json_is_refused_with_its_code(body: bytes, code: str) -> None:
    """Every row of the catalogue gets its code, and a short message without the body in it."""
    error = parse_object(body, max_bytes=MAX_BYTES)
    assert isinstance(error, PublicError)
    assert error.code == code
    assert error.meaning.status == (413 if code == "body_too_large" else 400)
    assert len(error.message) < 200


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (rb'{"a": "\ud800"}', "half a surrogate pair in a string"),
        (rb'{"a": "\\\uDBFF"}', "half a surrogate pair in a string"),
        (rb'{"a": "\\ud800', "Input data was truncated"),
        (rb'{"a": "\ud83d\ude00', "Input data was truncated"),
    ],
)
def test_half_a_pair_is_not_taken_for_a_body_that_is_cut_off(body: bytes, why: str) -> None:
    """The message says what is wrong, so that nobody looks for lost bytes."""
    error = parse_object(body, max_bytes=MAX_BYTES)
    assert isinstance(error, PublicError)
    assert why in error.message


ACCEPTED: list[Any] = [
    pytest.param(b"{}", {}, id="empty-object"),
    pytest.param(b' {"a" : [ ] } \n', {"a": []}, id="white-space"),
    pytest.param(rb'{"a": "\u0000"}', {"a": "\0"}, id="H10-nul"),
    pytest.param(rb'{"a": "\ud83d\ude00"}', {"a": "😀"}, id="surrogate-pair"),
    pytest.param(rb'{"a:": "[{\"b\\\":,"}', {"a:": '[{"b\\":,'}, id="structure-inside-strings"),
    pytest.param(rb'{"\\\"": {"\\": "\\\\"}}', {'\\"': {"\\": "\\\\"}}, id="runs-of-backslashes"),
    pytest.param(b'{"a": 9999999999999999999}', {"a": 9999999999999999999}, id="19-digits"),
    pytest.param(
        b'{"a": [0.1234567890123456789012, 123456789012345678901.5, 123456789012345678901e2]}',
        {"a": [0.1234567890123456789012, 123456789012345678901.5, 123456789012345678901e2]},
        id="20-digits-of-no-integer",
    ),
    pytest.param(
        b'{"a": ' + b"[" * 63 + b"]" * 63 + b"}",
        {"a": json.loads("[" * 63 + "]" * 63)},
        id="64-deep",
    ),
    pytest.param(b'{"a": [' + b"[]," * 100 + b"1]}", {"a": [[]] * 100 + [1]}, id="wide"),
]


@pytest.mark.parametrize(("body", "expected"), ACCEPTED)
def test_good_json_is_parsed(body: bytes, expected: dict[str, Any]) -> None:
    """What is valid, unambiguous and bounded is accepted as it stands."""
    assert parse_object(body, max_bytes=MAX_BYTES) == expected


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("1.0", 1),
        ("1e3", 1000),
        ("-0.0", 0),
        ("1.5", 1.5),
        ("1e19", 1e19),
        ("-9e18", -(9 * 10**18)),
    ],
)
def test_whole_numbers_are_integers_however_written(written: str, expected: float) -> None:
    """JSON does not tell 1.0 from 1, so neither does anything behind the parser."""
    document = parse_object(
        f'{{"a": {written}, "b": [{written}, "x"]}}'.encode(), max_bytes=MAX_BYTES
    )
    assert document == {"a": expected, "b": [expected, "x"]}
    assert isinstance(document, dict)
    assert type(document["a"]) is type(document["b"][0]) is type(expected)


def test_a_duplicate_key_is_named() -> None:
    """The message says which key stands twice, cut to what may be echoed."""
    error = parse_object(b'{"' + b"k" * 100 + b'": 1, "' + b"k" * 100 + b'": 1}', max_bytes=1_000)
    assert isinstance(error, PublicError)
    assert "'kkkk" in error.message
    assert "k" * 65 not in error.message


HOSTILE = {
    "quotes": b'"' * MAX_BYTES,
    "backslashes": b"\\" * MAX_BYTES,
    "escaped-quotes": b'{"a": "' + b'\\"' * (MAX_BYTES // 2 - 8),
    "brackets": b"[" * MAX_BYTES,
    "colons": b":" * MAX_BYTES,
    "digits": b'{"a": ' + b"1" * (MAX_BYTES - 10) + b"}",
    "short-numbers": b'{"a": [' + b"1234567890123456789," * 200_000 + b"0]}",
    "zigzag": b'{"a": [' + (b"[" * 60 + b"]" * 60 + b",") * 1_600 + b"0]}",
    "keys": b'{"a": {' + b",".join(b'"%d": 0' % i for i in range(240_000)) + b"}}",
}


@pytest.mark.timeout(10)
@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_bodies_take_linear_time(body: bytes) -> None:
    """The largest body of each hostile kind is done with in moments; quadratic work would hang."""
    parsed = parse_object(body, max_bytes=MAX_BYTES)
    assert isinstance(parsed, dict) or parsed.code in ERRORS


class Refused(Exception):
    """The reference parser refuses."""


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make an object of which no key stands twice."""
    if len(dict(pairs)) != len(pairs):
        raise Refused("duplicate_key")
    return dict(pairs)


def constant(name: str) -> None:
    """Refuse NaN and the infinities."""
    raise Refused(name)


def finite(text: str) -> float:
    """Make a float that is a number."""
    if float(text) in {float("inf"), float("-inf")}:
        raise Refused(text)
    return float(text)


def short(text: str) -> int:
    """Make an integer of at most 19 digits."""
    if len(text.lstrip("-")) > 19:
        raise Refused(text)
    return int(text)


def reference(body: bytes, max_depth: int) -> dict[str, Any]:
    """Parse slowly and strictly, with the standard library."""
    try:
        document = json.loads(
            body.decode(),
            object_pairs_hook=unique,
            parse_constant=constant,
            parse_float=finite,
            parse_int=short,
        )
        json.dumps(document, ensure_ascii=False).encode()  # fails on lone surrogates
    except ValueError as error:
        raise Refused("no JSON") from error
    if not isinstance(document, dict) or depth(document) > max_depth:
        raise Refused("no object, or too deep")
    return document


def depth(value: object) -> int:
    """Objects and arrays inside one another."""
    if isinstance(value, dict):
        return 1 + max(map(depth, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(depth, value), default=0)
    return 0


JSON_LIKE = st.text(alphabet='{}[]":,\\u0/ \n1.9e-dn') | st.lists(
    st.sampled_from(
        [
            '{"a":',
            '"b":',
            "{",
            "}",
            "[",
            "]",
            ",",
            '"\\"',
            '"\\\\"',
            '":"',
            "1",
            "-1.0",
            "\\u0022",
            '"',
        ]
    )
).map("".join)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**18), 10**18) | st.text() | st.floats(width=32),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=12,
)
DOCUMENTS = st.dictionaries(st.text(max_size=3), VALUES)


def agrees(body: bytes) -> None:
    """Assert that parser and reference agree on a body, on its value and on acceptance."""
    parsed = parse_object(body, max_bytes=MAX_BYTES, max_depth=SMALL_DEPTH)
    try:
        expected = reference(body, SMALL_DEPTH)
    except Refused:
        assert isinstance(parsed, PublicError)
    else:
        assert parsed == expected


@given(JSON_LIKE)
def test_parser_and_reference_agree_on_noise(text: str) -> None:
    """Whatever is made of JSON's own characters is accepted by both or by neither."""
    agrees(text.encode())
    agrees(f'{{"a":{text}}}'.encode())


@slow_examples
@given(DOCUMENTS, st.booleans(), st.sampled_from([None, 1, "\t"]))
def test_parser_and_reference_agree_on_json(
    document: dict[str, Any],
    ensure_ascii: bool,  # noqa: FBT001 -- drawn by Hypothesis
    indent: Any,
) -> None:
    """Valid JSON, in whichever way it is written, means the same to both."""
    agrees(
        json.dumps(document, ensure_ascii=ensure_ascii, indent=indent).encode("utf-8", "replace")
    )


@slow_examples
@given(DOCUMENTS, st.data())
def test_parser_and_reference_agree_on_damaged_json(
    document: dict[str, Any], data: st.DataObject
) -> None:
    """So does JSON with a byte replaced, removed or doubled."""
    body = json.dumps(document).encode()
    at = data.draw(st.integers(0, len(body) - 1))
    middle = data.draw(st.sampled_from([b"", body[at : at + 1] * 2, b'"', b"\\", b"{", b"\xff"]))
    agrees(body[:at] + middle + body[at + 1 :])


@slow_examples
@given(DOCUMENTS, st.text(max_size=3), VALUES, VALUES)
def test_a_key_doubled_anywhere_is_found(
    document: dict[str, Any], key: str, one: object, other: object
) -> None:
    """A doubled key is found however deep it lies and whatever stands around it."""
    doubled = f"{{{json.dumps(key)}: {json.dumps(one)}, {json.dumps(key)}: {json.dumps(other)}}}"
    body = f'{{"in": [{doubled}], "around": {json.dumps(document)}}}'.encode()
    error = parse_object(body, max_bytes=MAX_BYTES)
    assert isinstance(error, PublicError)
    assert error.code in {"duplicate_key", "json_invalid"}
    assert error.code == "duplicate_key" or b"NaN" in body or b"Infinity" in body or b"\\ud" in body
