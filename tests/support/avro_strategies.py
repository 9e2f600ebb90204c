"""Hypothesis strategies for Avro: schemas, their values, and schemas that evolved from others."""

import copy
from collections.abc import Callable
from typing import Any, TypeAlias

from hypothesis import strategies as st

Document: TypeAlias = Any
"""An Avro schema as decoded JSON."""

PRIMITIVES = ("boolean", "int", "long", "float", "double", "bytes", "string")
SYMBOLS = ("A", "B", "C")


@st.composite
def schemas(draw: st.DrawFn) -> Document:
    """Draw a record schema in which every named type has a name of its own."""
    return draw(_records("R", depth=0))


@st.composite
def _records(draw: st.DrawFn, name: str, depth: int) -> Document:
    count = draw(st.integers(1, 4))
    fields = [
        {"name": f"f{i}", "type": draw(_types(f"{name}_{i}", depth + 1))} for i in range(count)
    ]
    return {"type": "record", "name": name, "fields": fields}


@st.composite
def _types(draw: st.DrawFn, name: str, depth: int) -> Document:
    kinds = ["primitive", "enum", "fixed", "optional"]
    kind = draw(st.sampled_from(kinds if depth > 2 else [*kinds, "array", "map", "record"]))
    match kind:
        case "enum":
            return {"type": "enum", "name": name, "symbols": list(SYMBOLS)}
        case "fixed":
            return {"type": "fixed", "name": name, "size": draw(st.integers(1, 3))}
        case "optional":
            inner = draw(_types(name, depth + 1))
            return inner if isinstance(inner, list) else ["null", inner]
        case "array":
            return {"type": "array", "items": draw(_types(name, depth + 1))}
        case "map":
            return {"type": "map", "values": draw(_types(name, depth + 1))}
        case "record":
            return draw(_records(name, depth))
        case _:
            return draw(st.sampled_from(PRIMITIVES))


_TEXTS = st.text(alphabet="aZ_\n\x00é€𝄞", max_size=100)
_FLOATS = st.floats(width=32, allow_nan=False)
_VALUES: dict[str, st.SearchStrategy[Any]] = {
    "null": st.none(),
    "boolean": st.booleans(),
    "int": st.integers(-(2**31), 2**31 - 1),
    "long": st.integers(-(2**63), 2**63 - 1),
    "float": _FLOATS,
    "double": st.floats(allow_nan=False),
    "bytes": st.binary(max_size=200),
    "string": _TEXTS,
}


def values(document: Document) -> st.SearchStrategy[Any]:
    """Draw values of a schema."""
    if isinstance(document, list):
        return st.one_of([values(branch) for branch in document])
    if isinstance(document, str):
        return _VALUES[document]
    match document["type"]:
        case "record":
            return st.fixed_dictionaries(
                {field["name"]: values(field["type"]) for field in document["fields"]}
            )
        case "enum":
            return st.sampled_from(document["symbols"])
        case "fixed":
            return st.binary(min_size=document["size"], max_size=document["size"])
        case "array":
            return st.lists(values(document["items"]), max_size=4)
        case "map":
            return st.dictionaries(_TEXTS, values(document["values"]), max_size=4)
        case _:
            return values(document["type"])


_EXAMPLES = {
    "null": None,
    "boolean": True,
    "int": 1,
    "long": 1,
    "float": 1.0,
    "double": 1.0,
    "bytes": b"1",
    "string": "1",
}


def covering_values(document: Document) -> list[Any]:
    """List values that, together, use every branch and every symbol of a schema."""
    if isinstance(document, list):
        return [value for branch in document for value in covering_values(branch)]
    if isinstance(document, str):
        return [_EXAMPLES[document]]
    match document["type"]:
        case "enum":
            return list(document["symbols"])
        case "fixed":
            return [b"x" * document["size"]]
        case "array":
            return [[value] for value in covering_values(document["items"])]
        case "map":
            return [{"k": value} for value in covering_values(document["values"])]
        case _:
            pass
    covers = {field["name"]: covering_values(field["type"]) for field in document["fields"]}
    length = max((len(cover) for cover in covers.values()), default=1)
    return [{name: cover[i % len(cover)] for name, cover in covers.items()} for i in range(length)]


@st.composite
def evolutions(draw: st.DrawFn, document: Document) -> Document:
    """Draw a schema that somebody made of another one, with or without care."""
    evolved = copy.deepcopy(document)
    for _ in range(draw(st.integers(0, 3))):
        record = draw(st.sampled_from(_records_in(evolved)))
        draw(st.sampled_from(_EDITS))(draw, record)
    return evolved


def _records_in(document: Document) -> list[Document]:
    if isinstance(document, list):
        return [record for branch in document for record in _records_in(branch)]
    if isinstance(document, str):
        return []
    match document["type"]:
        case "record":
            inner = [r for field in document["fields"] for r in _records_in(field["type"])]
            return [document, *inner]
        case "array":
            return _records_in(document["items"])
        case "map":
            return _records_in(document["values"])
        case _:
            return []


Edit: TypeAlias = Callable[[st.DrawFn, Document], None]


def _add_field(draw: st.DrawFn, record: Document) -> None:
    names = {field["name"] for field in record["fields"]}
    name = next(f"g{i}" for i in range(99) if f"g{i}" not in names)
    field = {"name": name, "type": "string"}
    if draw(st.booleans()):
        field["default"] = "d"
    record["fields"].insert(draw(st.integers(0, len(names))), field)


def _drop_field(draw: st.DrawFn, record: Document) -> None:
    if len(record["fields"]) > 1:
        record["fields"].remove(draw(st.sampled_from(record["fields"])))


def _rename_field(draw: st.DrawFn, record: Document) -> None:
    field = draw(st.sampled_from(record["fields"]))
    if "aliases" in field or f"h_{field['name']}" in {f["name"] for f in record["fields"]}:
        return
    if draw(st.booleans()):
        field["aliases"] = [field["name"]]
    field["name"] = f"h_{field['name']}"


def _change_type(draw: st.DrawFn, record: Document) -> None:
    field = draw(st.sampled_from(record["fields"]))
    field.pop("default", None)
    match field["type"]:
        case str():
            field["type"] = draw(st.sampled_from(PRIMITIVES))
        case ["null", inner]:
            field["type"] = inner
        case {"type": "enum"} as enum:
            enum["symbols"] = draw(st.lists(st.sampled_from("ABCD"), unique=True, min_size=1))
            enum.pop("default", None)
            if draw(st.booleans()):
                enum["default"] = enum["symbols"][0]
        case {"type": "fixed"} as fixed:
            fixed["size"] = draw(st.integers(1, 3))
        case other:
            field["type"] = ["null", other]


def _rename_record(draw: st.DrawFn, record: Document) -> None:
    if "aliases" not in record:
        if draw(st.booleans()):
            record["aliases"] = [record["name"]]
        record["name"] = f"S_{record['name']}"


_EDITS: tuple[Edit, ...] = (_add_field, _drop_field, _rename_field, _change_type, _rename_record)
