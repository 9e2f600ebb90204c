"""An instance of a JSON Schema: what a model fills a tool's arguments with.

Supported: type (also several), enum, const, properties, items, prefixItems, local
``$ref``, allOf, the first of anyOf and oneOf, bounds of numbers, multipleOf, lengths of texts and
arrays, the common formats. ``pattern`` and ``not`` are not obeyed. Depth and size are bounded, so
that any schema ends.
"""

import json
from collections.abc import Callable, Iterator
from math import ceil, floor

from services.simulator.seed import drawn_integer, drawn_ratio
from services.simulator.text import said_tokens

Schema = dict[str, object]

_MAX_DEPTH = 12
_MAX_VALUES = 5_000
_MAX_ITEMS = 64
_MAX_MAGNITUDE = 10**15
_MAX_CHARACTERS = 2_000
_FORMATS = {
    "date": "2024-05-17",
    "time": "12:30:00Z",
    "date-time": "2024-05-17T12:30:00Z",
    "duration": "PT90S",
    "email": "someone@example.com",
    "hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uri": "https://example.com/",
    "uuid": "3f2504e0-4f89-41d3-9a0c-0305e82c3301",
}


def instance_text(schema: Schema, seed: int) -> str:
    """An instance of ``schema``, as JSON; the same for the same seed."""
    return json.dumps(_Maker(schema, seed).value(schema, "$", 0), ensure_ascii=False)


def _number_of(schema: Schema, name: str) -> float | None:
    value = schema.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return max(-_MAX_MAGNITUDE, min(value, _MAX_MAGNITUDE))


def _count_of(schema: Schema, name: str, default: int, most: int) -> int:
    value = _number_of(schema, name)
    return default if value is None else max(0, min(int(value), most))


def _dict(value: object) -> Schema:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


class _Maker:
    """Makes the values of one instance; knows the root, to which references lead."""

    def __init__(self, root: Schema, seed: int) -> None:
        self._root = root
        self._seed = seed
        self._values_left = _MAX_VALUES
        self._by_type: dict[str, Callable[[Schema, str, int], object]] = {
            "object": self._object,
            "array": self._array,
            "string": self._string,
            "integer": self._integer,
            "number": self._number,
            "boolean": lambda _schema, path, _depth: bool(drawn_integer(self._seed, path) & 1),
            "null": lambda _schema, _path, _depth: None,
        }

    def value(self, schema: Schema, path: str, depth: int) -> object:
        """The value at one place of the instance."""
        schema = self._resolved(schema)
        if "const" in schema:
            return schema["const"]
        choices = _list(schema.get("enum"))
        if choices:
            return choices[drawn_integer(self._seed, path) % len(choices)]
        kind = self._kind(schema)
        self._values_left -= 1
        is_too_large = depth >= _MAX_DEPTH or self._values_left < 0
        if is_too_large and kind in ("object", "array"):
            return {} if kind == "object" else []
        return self._by_type.get(kind, self._string)(schema, path, depth)

    def _resolved(self, schema: Schema) -> Schema:
        """Follow references, and merge what ``allOf``, ``anyOf`` and ``oneOf`` add."""
        for _ in range(_MAX_DEPTH):
            if isinstance(schema.get("$ref"), str):
                rest = {name: value for name, value in schema.items() if name != "$ref"}
                schema = _merged(self._referenced(str(schema["$ref"])), rest)
            elif any(schema.get(name) for name in ("allOf", "anyOf", "oneOf")):
                rest = {n: v for n, v in schema.items() if n not in ("allOf", "anyOf", "oneOf")}
                for part in _parts(schema):
                    rest = _merged(rest, part)
                schema = rest
            else:
                break
        return schema

    def _referenced(self, reference: str) -> Schema:
        place: object = self._root
        for step in reference.removeprefix("#").strip("/").split("/"):
            if step:
                place = _dict(place).get(step.replace("~1", "/").replace("~0", "~"))
        return _dict(place)

    def _kind(self, schema: Schema) -> str:
        kind = schema.get("type")
        kinds = kind if isinstance(kind, list) else [kind]
        for name in kinds:
            if name != "null" and isinstance(name, str):
                return name
        if "null" in kinds:
            return "null"
        if "properties" in schema:
            return "object"
        return "array" if "items" in schema else "string"

    def _object(self, schema: Schema, path: str, depth: int) -> object:
        properties = _dict(schema.get("properties"))
        required = [name for name in _list(schema.get("required")) if isinstance(name, str)]
        # deep down only what must be: a schema that refers to itself ends there
        wanted = [*properties] if depth < _MAX_DEPTH // 3 else []
        names = dict.fromkeys([*wanted, *required])
        return {
            name: self.value(_dict(properties.get(name)), f"{path}.{name}", depth + 1)
            for name in names
        }

    def _array(self, schema: Schema, path: str, depth: int) -> object:
        fixed = [_dict(item) for item in _list(schema.get("prefixItems"))]
        most = _count_of(schema, "maxItems", _MAX_ITEMS, _MAX_ITEMS)
        least = _count_of(schema, "minItems", 0, _MAX_ITEMS)
        usual = 0 if depth >= _MAX_DEPTH // 3 else 2
        count = min(max(least, len(fixed), usual), max(most, least))
        item = _dict(schema.get("items"))
        schemas = [*fixed, *[item] * (count - len(fixed))][:count]
        return [self.value(one, f"{path}[{index}]", depth + 1) for index, one in enumerate(schemas)]

    def _string(self, schema: Schema, path: str, _depth: int) -> object:
        form = schema.get("format")
        if isinstance(form, str) and form in _FORMATS:
            return _FORMATS[form]
        least = _count_of(schema, "minLength", 0, _MAX_CHARACTERS)
        most = _count_of(schema, "maxLength", _MAX_CHARACTERS, _MAX_CHARACTERS)
        seed = drawn_integer(self._seed, path)
        tokens = said_tokens(seed, at_least_tokens=max(4, least), exactly=True)
        text = "".join(tokens)[: max(least, min(most, 24))].strip()
        return text.ljust(least, "x")[: max(most, least)]

    def _integer(self, schema: Schema, path: str, _depth: int) -> object:
        low, high = _bounds(schema, step=1)
        least, most = ceil(low), floor(high)
        step = max(1, int(_number_of(schema, "multipleOf") or 1))
        least += -least % step
        return least + drawn_integer(self._seed, path) % max(1, (most - least) // step + 1) * step

    def _number(self, schema: Schema, path: str, depth: int) -> object:
        step = _number_of(schema, "multipleOf")
        low, high = _bounds(schema, step=min(1e-3, step or 1))
        if step is not None and step > 0:
            return (
                self._integer(schema, path, depth) if step == int(step) else ceil(low / step) * step
            )
        value = round(low + drawn_ratio(self._seed, path) * (high - low), 3)
        return min(max(value, low), high)


def _merged(left: Schema, right: Schema) -> Schema:
    merged = left | right
    if "properties" in left and "properties" in right:
        merged["properties"] = _dict(left["properties"]) | _dict(right["properties"])
    if "required" in left and "required" in right:
        merged["required"] = [*_list(left["required"]), *_list(right["required"])]
    return merged


def _parts(schema: Schema) -> Iterator[Schema]:
    """All of ``allOf``; of ``anyOf`` and ``oneOf`` the first."""
    yield from (_dict(part) for part in _list(schema.get("allOf")))
    for name in ("anyOf", "oneOf"):
        yield from (_dict(part) for part in _list(schema.get(name))[:1])


def _bounds(schema: Schema, *, step: float) -> tuple[float, float]:
    """Inclusive bounds of a number; 100 apart where only one is given."""
    low, above = _number_of(schema, "minimum"), _number_of(schema, "exclusiveMinimum")
    high, below = _number_of(schema, "maximum"), _number_of(schema, "exclusiveMaximum")
    lows = [bound for bound in (low, None if above is None else above + step) if bound is not None]
    highs = [
        bound for bound in (high, None if below is None else below - step) if bound is not None
    ]
    least = max(lows) if lows else (min(highs) - 100 if highs else 0)
    most = min(highs) if highs else least + 100
    return least, max(least, most)
