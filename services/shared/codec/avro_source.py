"""What the compilers of readers and writers share: lines of source that become a function."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from services.shared.codec.avro_schema import Fixed, Primitive, Record, Schema, Type, Union
from services.shared.codec.errors import InvalidSchema

_MAX_LINES: Final = 20_000
_MAX_LOOPS: Final = 6  # nested lists and maps; Python itself ends at 20 nested blocks


class FunctionSource:
    """The lines of a function under construction, and the constants that they refer to."""

    def __init__(self, schema: Schema, structs: Mapping[str, type]) -> None:
        """Begin an empty function.

        Args:
            schema: The schema that it is for.
            structs: Full name -> class of the records that are not dicts.
        """
        self.schema = schema
        self.structs = structs
        self._constants: dict[str, Any] = {}
        self._lines: list[str] = []
        self._indent = 1
        self._loops = 0
        self._variables = 0
        self._open: list[str] = []

    def line(self, text: str) -> None:
        """Append a line."""
        if len(self._lines) >= _MAX_LINES:
            raise InvalidSchema("the schema is too large")
        self._lines.append("    " * self._indent + text)

    def variable(self) -> str:
        """Return a new name for a variable."""
        self._variables += 1
        return f"v{self._variables}"

    def constant(self, value: Any) -> str:
        """Return the name under which the function finds a value."""
        name = f"C{len(self._constants)}"
        self._constants[name] = value
        return name

    @contextmanager
    def block(self, head: str) -> Iterator[None]:
        """Append a line that opens a block, and indent what follows."""
        self.line(head)
        self._indent += 1
        yield
        self._indent -= 1

    @contextmanager
    def inside(self, record: Record) -> Iterator[None]:
        """Emit the fields of a record; refuse a record inside itself."""
        if record.name in self._open:
            raise InvalidSchema(f"{record.name} is recursive: a deep value would end the process")
        self._open.append(record.name)
        yield
        self._open.pop()

    @contextmanager
    def loop_over(self, items: Type) -> Iterator[None]:
        """Emit a loop; refuse items whose number costs the sender nothing."""
        if self._loops >= _MAX_LOOPS:
            raise InvalidSchema(f"lists and maps are nested deeper than {_MAX_LOOPS} levels")
        if min_width_bytes(self.schema, items) == 0:
            raise InvalidSchema("items without bytes: their number would be free to claim")
        self._loops += 1
        yield
        self._loops -= 1

    def function(self, signature: str, head: list[str], helpers: Mapping[str, Any]) -> Any:
        """Make the function of the lines."""
        lines = [f"def {signature}:", *(f"    {text}" for text in head), *self._lines]
        scope = {**helpers, **self._constants}
        # The source holds names made here, and field names that the parser checked to be
        # identifiers and that are written through repr(): no text of a schema is ever run.
        exec("\n".join(lines), scope)  # noqa: S102 - as dataclasses do it
        return scope[signature.partition("(")[0]]


def min_width_bytes(schema: Schema, type_: Type, inside: tuple[str, ...] = ()) -> int:
    """Return the fewest bytes that a value can take; a record inside itself counts as one."""
    match schema.concrete(type_):
        case Primitive(name=name):
            return {"null": 0, "float": 4, "double": 8}.get(name, 1)
        case Fixed(size=size):
            return size
        case Union(branches=branches):
            return 1 + min(min_width_bytes(schema, branch, inside) for branch in branches)
        case Record(name=name, fields=fields):
            if name in inside:
                return 1
            return sum(min_width_bytes(schema, f.type, (*inside, name)) for f in fields)
        case _:
            return 1
