"""Records on the wire: what is written, and the golden list of what is refused and why."""

import io
import struct
import tracemalloc
from typing import Any

import fastavro
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.shared.codec import avro
from services.shared.codec.avro import MAX_RECORD_BYTES, Codec, Undecodable
from services.shared.codec.avro_parser import schema_from_json
from services.shared.codec.avro_reader import MAX_VALUES, compile_reader
from services.shared.codec.avro_writer import compile_writer
from services.shared.codec.canonical_form import fingerprint
from services.shared.codec.errors import InvalidSchema, Unencodable, UnknownSchema
from services.shared.codec.schemas import PackagedSchema, SchemaStore
from tests.support.avro_strategies import Document, schemas, values
from tests.support.slow_examples import slow_examples


def packaged(document: Document, *, record: str, version: int, schema_id: int) -> PackagedSchema:
    """A schema as the store holds it."""
    schema = schema_from_json(document)
    return PackagedSchema(
        record=record,
        version=version,
        schema_id=schema_id,
        text=msgspec.json.encode(document).decode(),
        schema=schema,
        fingerprint=fingerprint(schema),
    )


def codec_of(*types: Document) -> Codec:
    """A codec whose record ``one`` (id 1) has the fields f0, f1, … of these types."""
    fields = [{"name": f"f{i}", "type": type_} for i, type_ in enumerate(types)]
    document = {"type": "record", "name": "One", "fields": fields}
    return Codec(SchemaStore([packaged(document, record="one", version=1, schema_id=1)]))


def varint(number: int) -> bytes:
    """A number as Avro writes it, whatever its size."""
    folded = number << 1 if number >= 0 else (-number << 1) - 1
    out = bytearray()
    while folded > 127:
        out.append(folded & 127 | 128)
        folded >>= 7
    return bytes([*out, folded])


ENVELOPE = b"\x00\x00\x00\x00\x01"
OPTIONAL = ["null", "string"]
LETTERS = {"type": "enum", "name": "E", "symbols": ["A", "B"]}
LONGS = {"type": "array", "items": "long"}
BOOLEANS = {"type": "array", "items": "boolean"}
LONG_MAP = {"type": "map", "values": "long"}
PAIR = {
    "type": "record",
    "name": "P",
    "fields": [{"name": "a", "type": OPTIONAL}, {"name": "b", "type": OPTIONAL}],
}
PAIRS = {"type": "array", "items": PAIR}

REFUSED = [
    pytest.param("long", b"", "bad_envelope", id="K2_empty"),
    pytest.param("long", b"\x00\x00\x00\x01", "bad_envelope", id="K2_four_bytes"),
    pytest.param("long", b"\x01\x00\x00\x00\x01\x02", "bad_envelope", id="K2_other_magic"),
    pytest.param("long", b"random bytes", "bad_envelope", id="K2_random"),
    pytest.param("long", b'{"a": 1}', "bad_envelope", id="K2_json"),
    pytest.param("long", b"\x00\x00\x00\x00\x02\x02", "schema_unknown", id="K3_unknown_id"),
    pytest.param("long", b"\x00\xff\xff\xff\xff\x02", "schema_unknown", id="K3_id_2_to_32"),
    pytest.param("long", ENVELOPE, "decode_error", id="K4_no_body"),
    pytest.param("long", ENVELOPE + b"\x80", "decode_error", id="K4_cut_in_a_number"),
    pytest.param("string", ENVELOPE + b"\x06ab", "decode_error", id="K4_cut_in_a_string"),
    pytest.param("double", ENVELOPE + b"1234567", "decode_error", id="K4_cut_in_a_double"),
    pytest.param("float", ENVELOPE + b"123", "decode_error", id="K4_cut_in_a_float"),
    pytest.param(
        {"type": "fixed", "name": "F", "size": 4}, ENVELOPE + b"123", "decode_error", id="K4_fixed"
    ),
    pytest.param(LONGS, ENVELOPE + b"\x02\x02", "decode_error", id="K4_array_without_end"),
    pytest.param(
        "long", ENVELOPE + b"\xff" * 9 + b"\x02", "decode_error", id="K4_number_of_65_bits"
    ),
    pytest.param(
        "long", ENVELOPE + b"\x80" * 10 + b"\x00", "decode_error", id="K4_number_of_11_bytes"
    ),
    pytest.param("int", ENVELOPE + varint(2**31), "decode_error", id="K4_int_of_33_bits"),
    pytest.param("boolean", ENVELOPE + b"\x02", "decode_error", id="K4_boolean_2"),
    pytest.param(OPTIONAL, ENVELOPE + varint(7), "decode_error", id="K4_union_index_7"),
    pytest.param(
        OPTIONAL, ENVELOPE + varint(-1) + b"\x02a", "decode_error", id="K4_union_index_-1"
    ),
    pytest.param(LETTERS, ENVELOPE + varint(2), "decode_error", id="K4_enum_index_2"),
    pytest.param(LETTERS, ENVELOPE + varint(-1), "decode_error", id="K4_enum_index_-1"),
    pytest.param("long", ENVELOPE + b"\x02\x00", "trailing_bytes", id="K5_one_more"),
    pytest.param("string", ENVELOPE + varint(2**40) + b"ab", "decode_error", id="K6_2_to_40"),
    pytest.param("string", ENVELOPE + varint(-1) + b"ab", "decode_error", id="K6_negative"),
    pytest.param("bytes", ENVELOPE + varint(2**62) + b"ab", "decode_error", id="K6_bytes"),
    pytest.param("bytes", ENVELOPE + varint(-2) + b"ab", "decode_error", id="K6_bytes_negative"),
    pytest.param(LONGS, ENVELOPE + varint(20_000_000), "decode_error", id="K7_array_of_20_M"),
    pytest.param(LONGS, ENVELOPE + varint(2**63 - 1), "decode_error", id="K7_array_of_2_to_63"),
    pytest.param(
        LONGS, ENVELOPE + varint(-(2**63)) + b"\x02\x02\x00", "decode_error", id="K7_negative_count"
    ),
    pytest.param(LONG_MAP, ENVELOPE + varint(20_000_000), "decode_error", id="K7_map_of_20_M"),
    pytest.param(
        LONGS, ENVELOPE + varint(-1) + b"\x04\x02\x00", "decode_error", id="K7_block_size_lies"
    ),
    pytest.param(
        LONGS, ENVELOPE + varint(-1) + b"\x01\x02\x00", "decode_error", id="K7_block_size_negative"
    ),
    pytest.param(
        BOOLEANS,
        ENVELOPE + varint(MAX_VALUES + 1) + bytes(MAX_VALUES + 2),
        "oversize",
        id="K7_too_many_items",
    ),
    pytest.param(
        BOOLEANS,
        ENVELOPE + (varint(1000) + bytes(1000)) * (MAX_VALUES // 1000 + 1) + b"\x00",
        "oversize",
        id="K7_too_many_items_in_many_blocks",
    ),
    pytest.param(
        PAIRS,
        ENVELOPE + varint(MAX_VALUES // 2) + bytes(MAX_VALUES + 1),
        "oversize",
        id="K7_too_many_values_in_records",
    ),
    pytest.param("bytes", ENVELOPE + bytes(MAX_RECORD_BYTES), "oversize", id="K7_too_long"),
    pytest.param("string", ENVELOPE + b"\x04\xff\xfe", "decode_error", id="K9_not_utf_8"),
    pytest.param("string", ENVELOPE + b"\x06\xed\xa0\x80", "decode_error", id="K9_lone_surrogate"),
    pytest.param(LONG_MAP, ENVELOPE + b"\x02\x02\xff\x02\x00", "decode_error", id="K9_map_key"),
]


@pytest.mark.parametrize(("type_", "value", "reason"), REFUSED)
def test_bytes_that_are_no_record_are_refused_with_their_reason(
    type_: Document, value: bytes, reason: str
) -> None:
    """Each poison has its code, and costs no memory beyond a small multiple of its length."""
    codec = codec_of(type_)
    tracemalloc.start()
    with pytest.raises(Undecodable) as refused:
        codec.decode(value)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert refused.value.reason == reason
    assert peak_bytes < 4_000_000


def test_the_most_that_lists_can_allocate_is_bounded() -> None:
    """A record with as many values as allowed stays within 30 MB: the worst that gets through."""
    count = MAX_VALUES // 3
    value = ENVELOPE + varint(count) + bytes(count * 2) + b"\x00"
    codec = codec_of(PAIRS)
    tracemalloc.start()
    _, _, fields = codec.decode(value)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(fields["f0"]) == count
    assert peak_bytes < 30_000_000


@pytest.mark.parametrize(
    "type_",
    [
        pytest.param({"type": "array", "items": "null"}, id="K7_array_of_null"),
        pytest.param(
            {"type": "array", "items": {"type": "record", "name": "X", "fields": []}},
            id="K7_array_of_empty_records",
        ),
        pytest.param(
            {"type": "array", "items": {"type": "fixed", "name": "X", "size": 0}},
            id="K7_array_of_fixed_0",
        ),
        pytest.param(["null", "One"], id="K8_recursive"),
    ],
)
def test_schema_that_would_make_bombs_possible_is_refused(type_: Document) -> None:
    """Items without bytes and recursion never get as far as a record."""
    with pytest.raises(InvalidSchema):
        codec_of(type_)


@pytest.mark.parametrize("make", [compile_reader, compile_writer])
def test_schema_that_would_become_too_much_code_is_refused(make: Any) -> None:
    """Neither exponentially many places nor deep loops are compiled."""
    inner: Document = {"type": "record", "name": "R0", "fields": [{"name": "a", "type": "int"}]}
    for level in range(1, 16):
        twice = [{"name": "a", "type": inner}, {"name": "b", "type": inner["name"]}]
        inner = {"type": "record", "name": f"R{level}", "fields": twice}
    with pytest.raises(InvalidSchema, match="too large"):
        make(schema_from_json(inner))
    loops: Document = "int"
    for _ in range(7):
        loops = {"type": "array", "items": loops}
    with pytest.raises(InvalidSchema, match="nested deeper"):
        make(schema_from_json(loops))


def test_blocks_with_sizes_are_read() -> None:
    """Other writers may split lists and prefix each block with its size in bytes."""
    body = varint(1) + varint(5) + varint(-2) + varint(3) + varint(6) + varint(300) + varint(0)
    assert codec_of(LONGS).decode(ENVELOPE + body) == ("one", 1, {"f0": [5, 6, 300]})


def test_union_of_several_types_is_read_but_not_written() -> None:
    """Branches are chosen by their index; which one a value means is not guessed."""
    document = {
        "type": "record",
        "name": "One",
        "fields": [{"name": "f0", "type": ["string", "long"]}],
    }
    read = compile_reader(schema_from_json(document))
    assert read(b"\x02\x06", 0) == ({"f0": 3}, 2)
    assert read(b"\x00\x02a", 0) == ({"f0": "a"}, 3)
    with pytest.raises(InvalidSchema):
        compile_writer(schema_from_json(document))


@settings(max_examples=2 * slow_examples.max_examples)
@given(st.data())
def test_we_and_fastavro_write_and_read_the_same(data: st.DataObject) -> None:
    """For any schema and value: one encoding, and it is read back as what was written."""
    document = data.draw(schemas(), label="schema")
    value = data.draw(values(document), label="value")
    out = bytearray()
    compile_writer(schema_from_json(document))(out, value)
    theirs = io.BytesIO()
    fastavro.schemaless_writer(theirs, fastavro.parse_schema(document), value)
    assert bytes(out) == theirs.getvalue()
    assert compile_reader(schema_from_json(document))(bytes(out), 0) == (value, len(out))


@settings(max_examples=2 * slow_examples.max_examples)
@given(st.data())
def test_mutilated_record_is_refused_or_is_another_valid_record(data: st.DataObject) -> None:
    """K10: after a flipped byte or a cut, nothing but ``Undecodable`` is ever raised."""
    types = data.draw(schemas(), label="schema")["fields"]
    codec = codec_of(*(field["type"] for field in types))
    value = {f"f{i}": data.draw(values(field["type"])) for i, field in enumerate(types)}
    encoded = bytearray(codec.encode("one", value))
    place = data.draw(st.integers(0, len(encoded) - 1), label="place")
    if data.draw(st.booleans(), label="cut"):
        del encoded[place:]
    else:
        encoded[place] ^= data.draw(st.integers(1, 255), label="flip")
    try:
        _, _, decoded = codec.decode(bytes(encoded))
    except Undecodable:
        return
    again = codec.encode("one", decoded)
    assert codec.encode("one", codec.decode(again)[2]) == again


def test_zeros_are_an_empty_record_so_ids_must_be_checked_later() -> None:
    """K11: Avro cannot tell zeros from an empty record; requiring an id is admission's part."""
    codec = codec_of("string", "long", OPTIONAL)
    assert codec.decode(ENVELOPE + bytes(3)) == ("one", 1, {"f0": "", "f1": 0, "f2": None})


UNWRITABLE = [
    pytest.param("string", b"a", id="bytes_as_string"),
    pytest.param("string", None, id="null_as_string"),
    pytest.param("string", "\ud800", id="lone_surrogate"),
    pytest.param("bytes", "a", id="string_as_bytes"),
    pytest.param("bytes", [97], id="list_as_bytes"),
    pytest.param("long", 1.5, id="float_as_long"),
    pytest.param("long", "1", id="string_as_long"),
    pytest.param("long", 2**63, id="long_too_large"),
    pytest.param("long", -(2**63) - 1, id="long_too_small"),
    pytest.param("int", 2**31, id="int_too_large"),
    pytest.param("double", "1", id="string_as_double"),
    pytest.param("float", 1e300, id="float_too_large"),
    pytest.param("boolean", 1, id="number_as_boolean"),
    pytest.param("null", 0, id="number_as_null"),
    pytest.param(LETTERS, "C", id="unknown_symbol"),
    pytest.param(LONGS, "12", id="string_as_list"),
    pytest.param(LONGS, None, id="null_as_list"),
    pytest.param(LONG_MAP, [("a", 1)], id="pairs_as_map"),
    pytest.param(LONG_MAP, {1: 1}, id="number_as_key"),
    pytest.param({"type": "fixed", "name": "F", "size": 2}, b"abc", id="fixed_of_another_size"),
    pytest.param(PAIR, {"a": None}, id="missing_field"),
    pytest.param(PAIR, {"a": None, "b": None, "c": None}, id="unknown_field"),
    pytest.param(PAIR, {"a": None, "c": None}, id="misnamed_field"),
]


@pytest.mark.parametrize(("type_", "value"), UNWRITABLE)
def test_value_that_does_not_fit_is_not_written(type_: Document, value: Any) -> None:
    """What readers would refuse or misread never leaves the process."""
    with pytest.raises(Unencodable, match="one"):
        codec_of(type_).encode("one", {"f0": value})


def test_unknown_record_is_not_written() -> None:
    """A name that no schema has is a mistake of the caller."""
    with pytest.raises(UnknownSchema):
        codec_of("long").encode("two", {})


V1 = {
    "type": "record",
    "name": "One",
    "fields": [{"name": "a", "type": "int"}, {"name": "gone", "type": "string"}],
}
V2 = {
    "type": "record",
    "name": "One",
    "fields": [
        {"name": "a", "type": "long"},
        {"name": "added", "type": "string", "default": "d"},
        {"name": "rows", "type": {"type": "array", "items": "string"}, "default": ["x"]},
    ],
}


class One(msgspec.Struct, frozen=True):
    """The second version as a struct."""

    a: int
    added: str
    rows: tuple[str, ...]


EVOLVED = SchemaStore(
    [
        packaged(V1, record="one", version=1, schema_id=7),
        packaged(V2, record="one", version=2, schema_id=3),
    ]
)
OLD_RECORD = struct.pack(">bI", 0, 7) + varint(-5) + b"\x02x"


def test_old_version_is_read_as_the_newest() -> None:
    """Promotion, dropped and defaulted fields; the version written in is reported."""
    decoded = Codec(EVOLVED).decode(OLD_RECORD)
    assert decoded == ("one", 1, {"a": -5, "added": "d", "rows": ["x"]})


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        pytest.param(OLD_RECORD + b"\x00", "trailing_bytes", id="trailing"),
        pytest.param(OLD_RECORD[:-1], "decode_error", id="cut"),
        pytest.param(
            OLD_RECORD[:5] + varint(2**40) + b"\x02x", "decode_error", id="int_of_41_bits"
        ),
    ],
)
def test_old_version_is_read_as_strictly(value: bytes, reason: str) -> None:
    """An old id is no way around the checks."""
    with pytest.raises(Undecodable) as refused:
        Codec(EVOLVED).decode(value)
    assert refused.value.reason == reason


def test_newest_version_is_written() -> None:
    """Records carry the id of the newest version."""
    value = Codec(EVOLVED).encode("one", {"a": 1, "added": "", "rows": []})
    assert value == b"\x00\x00\x00\x00\x03" + b"\x02\x00\x00"


def test_structs_are_written_and_read_like_dicts() -> None:
    """With classes given, records are structs and lists tuples; the bytes are the same."""
    codec = Codec(EVOLVED, structs={"One": One})
    record = One(a=1 << 40, added="é", rows=("p", "q"))
    value = codec.encode("one", record)
    assert value == Codec(EVOLVED).encode("one", msgspec.to_builtins(record))
    assert codec.decode(value) == ("one", 2, record)
    assert codec.decode(OLD_RECORD) == ("one", 1, One(a=-5, added="d", rows=("x",)))
    with pytest.raises(Unencodable):
        codec.encode("one", {"a": 1})


def test_packaged_records_are_enveloped_with_their_packaged_id() -> None:
    """The module's own functions are the codec of ``avro/``."""
    fields = {"topic": "t", "partition": 1, "offset": 2, "group": "g", "crashes": 3}
    value = avro.encode("crash_suspected", fields)
    assert value[:5] == struct.pack(">bI", 0, SchemaStore.packaged().id_of("crash_suspected"))
    assert avro.decode(value) == ("crash_suspected", 1, fields)
