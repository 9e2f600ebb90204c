"""``millrace.yaml`` → ``Configuration``, with file, line and remedy for every mistake at once.

The file is composed into nodes, which know their lines, and read against the types of the
configuration itself: a new field needs no code here. A value that cannot be read is noted and
replaced by its default, so that one mistake never hides another; mistakes that only follow from a
noted one are left out.
"""

import types
import typing
from collections.abc import Iterator
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import yaml

from services.shared.adapters.type_words import base_type, describe_type
from services.shared.adapters.yaml_scalars import scalar_value
from services.shared.domain.configuration import Configuration
from services.shared.domain.configuration_mistakes import (
    ConfigPath,
    Mistake,
    mistakes_in,
    nearest,
)
from services.shared.domain.configuration_types import Section
from services.shared.domain.errors import InvalidConfiguration

try:
    from yaml import CSafeLoader as _Loader
except ImportError:  # PyYAML without libyaml: the same nodes, ten times slower
    from yaml import SafeLoader as _Loader  # type: ignore[assignment]

MAX_FILE_BYTES = 4 * 1024 * 1024
MAX_DEPTH = 32

S = TypeVar("S", bound=Section)


class ReadConfiguration(msgspec.Struct, frozen=True, kw_only=True):
    """What a file holds.

    Attributes:
        configuration: The configuration; defaults stand where there are mistakes.
        mistakes: One line each, ``FILE:LINE: PLACE: PROBLEM; REMEDY``, in the order of the file.
    """

    configuration: Configuration
    mistakes: tuple[str, ...]


def read_configuration(path: Path) -> Configuration:
    """Read a configuration file.

    Raises:
        InvalidConfiguration: It cannot be read or holds mistakes; all are named. Not retriable.
    """
    read = configuration_from_yaml(_text_of(path), name=str(path))
    if read.mistakes:
        raise InvalidConfiguration("\n".join(read.mistakes))
    return read.configuration


def check_configuration(path: Path) -> ReadConfiguration:
    """Read a configuration file and list its mistakes instead of raising them.

    Raises:
        InvalidConfiguration: It cannot be read or is no YAML. Not retriable.
    """
    return configuration_from_yaml(_text_of(path), name=str(path))


def configuration_from_yaml(text: str, *, name: str) -> ReadConfiguration:
    """Read a configuration.

    Args:
        text: YAML.
        name: What to call it in mistakes.

    Raises:
        InvalidConfiguration: It is no YAML. Not retriable.
    """
    try:
        _check_shape(text, name)
        root = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        msg = f"{name}:{line}: is no YAML: {error.problem or error.context}; {_mend(text, line)}"
        raise InvalidConfiguration(msg) from error
    except yaml.YAMLError as error:
        msg = f"{name}:1: is no YAML: {str(error).splitlines()[0]}"
        raise InvalidConfiguration(msg) from error
    reader = _Reader()
    configuration = reader.read(root)
    found = [*reader.mistakes, *reader.independent(mistakes_in(configuration))]
    found.sort(key=lambda mistake: reader.line_of(mistake.path))
    return ReadConfiguration(
        configuration=configuration,
        mistakes=tuple(f"{name}:{reader.line_of(mistake.path)}: {mistake}" for mistake in found),
    )


def _mend(text: str, line: int) -> str:
    """What to do about a line that is no YAML, as far as its text tells."""
    at = text.split("\n")[line - 1 : line]
    if at and "\t" in at[0][: len(at[0]) - len(at[0].lstrip())]:
        return "indent with spaces, not with tabs"
    return "look at this line and the one before it for a bracket, quote or colon too many or few"


def _check_shape(text: str, name: str) -> None:
    """Refuse, before anything is built, what could exhaust the composer: depth and aliases."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH or isinstance(event, yaml.AliasEvent):
            line = event.start_mark.line + 1 if event.start_mark else 1
            what = "an alias (*name)" if depth <= MAX_DEPTH else f"more than {MAX_DEPTH} levels"
            msg = f"{name}:{line}: {what} cannot be read here; write the value out"
            raise InvalidConfiguration(msg)


def _text_of(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        msg = f"{path}: cannot be read: {error.strerror or error}"
        raise InvalidConfiguration(msg) from error
    if len(content) > MAX_FILE_BYTES:
        msg = f"{path}: is larger than {MAX_FILE_BYTES} bytes; use patterns for families of models"
        raise InvalidConfiguration(msg)
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        msg = f"{path}:{line}: is not UTF-8; save the file in that encoding"
        raise InvalidConfiguration(msg) from error


class _Reader:
    """Reads nodes against types; keeps the line of every path and every mistake."""

    def __init__(self) -> None:
        self.mistakes: list[Mistake] = []
        self._lines: dict[ConfigPath, int] = {(): 1}
        self._unread: set[ConfigPath] = set()

    def read(self, root: yaml.Node | None) -> Configuration:
        """The whole configuration."""
        if root is None:
            self._unreadable((), "is empty", "copy millrace.example.yaml and change it")
            return Configuration()
        return self._section(root, Configuration, ())

    def line_of(self, path: ConfigPath) -> int:
        """Line of a path or of the nearest thing around it."""
        while path not in self._lines:
            path = path[:-1]
        return self._lines[path]

    def independent(self, found: list[Mistake]) -> Iterator[Mistake]:
        """Those mistakes that do not follow from a place that could not be read."""
        for mistake in found:
            path = mistake.path
            if not any(path[:length] in self._unread for length in range(len(path) + 1)):
                yield mistake

    def _unreadable(self, path: ConfigPath, problem: str, remedy: str = "") -> None:
        self._unread.add(path)
        self._note(path, problem, remedy)

    def _note(self, path: ConfigPath, problem: str, remedy: str = "") -> None:
        self.mistakes.append(Mistake(path=path, problem=problem, remedy=remedy))

    def _value(self, node: yaml.Node, expected: Any, path: ConfigPath) -> Any:
        """One value; ``msgspec.UNSET`` where it could not be read."""
        kind = _member_for(node, expected)
        if isinstance(kind, type) and issubclass(kind, Section):
            return self._section(node, kind, path)
        origin = typing.get_origin(kind)
        if origin is dict:
            return self._mapping(node, typing.get_args(kind)[1], path)
        if origin is tuple:
            return self._sequence(node, typing.get_args(kind)[0], path)
        if not isinstance(node, yaml.ScalarNode):
            self._unreadable(path, f"is not {describe_type(kind)}")
            return msgspec.UNSET
        try:
            return scalar_value(node, kind)
        except ValueError as error:
            self._unreadable(path, str(error), _remedy(node, kind))
            return msgspec.UNSET

    def _section(self, node: yaml.Node, kind: type[S], path: ConfigPath) -> S:
        fields = {field.name: field for field in msgspec.structs.fields(kind)}
        values: dict[str, Any] = {}
        for name, child in self._entries(node, path):
            place = (*path, name)
            if name not in fields:
                self._note(place, "is not known here", nearest(name, fields))
            elif not _is_null(child):
                value = self._value(child, fields[name].type, place)
                if value is not msgspec.UNSET:
                    values[name] = value
        for name, field in fields.items():
            if field.required and name not in values:
                if self._unread.isdisjoint({path, (*path, name)}):
                    wanted = describe_type(field.type)
                    self._unreadable((*path, name), "is missing", f"write {wanted}")
                values[name] = _placeholder(field.type)
        return kind(**values)

    def _mapping(self, node: yaml.Node, kind: Any, path: ConfigPath) -> dict[str, Any]:
        values = {
            name: self._value(child, kind, (*path, name))
            for name, child in self._entries(node, path)
        }
        return {name: value for name, value in values.items() if value is not msgspec.UNSET}

    def _sequence(self, node: yaml.Node, kind: Any, path: ConfigPath) -> tuple[Any, ...]:
        if not isinstance(node, yaml.SequenceNode):
            remedy = "write its entries as '- entry' or [entry, entry]"
            self._unreadable(path, "is not a list", remedy)
            return ()
        values = []
        for position, child in enumerate(node.value):
            place = (*path, position)
            self._lines[place] = child.start_mark.line + 1
            values.append(self._value(child, kind, place))
        return tuple(value for value in values if value is not msgspec.UNSET)

    def _entries(self, node: yaml.Node, path: ConfigPath) -> Iterator[tuple[str, yaml.Node]]:
        """Names and values of a mapping, each name once."""
        if not isinstance(node, yaml.MappingNode):
            self._unreadable(path, "is not a section", "write 'name: value' lines below it")
            return
        names: set[str] = set()
        for key, child in node.value:
            if not isinstance(key, yaml.ScalarNode):
                self._note(path, "holds a name that is no text", "write a plain name")
                continue
            place = (*path, key.value)
            if key.value in names:
                first = self._lines[place]
                self._lines[place] = key.start_mark.line + 1
                self._note(place, f"is there twice, first on line {first}", "remove one")
                continue
            names.add(key.value)
            self._lines[place] = key.start_mark.line + 1
            yield key.value, child


def _member_for(node: yaml.Node, expected: Any) -> Any:
    """The member of a union that fits the shape of a node; any other type as it is."""
    if typing.get_origin(expected) not in {typing.Union, types.UnionType}:
        return expected
    members = [member for member in typing.get_args(expected) if member is not type(None)]
    for member in members:
        is_list = typing.get_origin(member) is tuple
        if is_list == isinstance(node, yaml.SequenceNode):
            return member
    return members[0]


def _is_null(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:null"


def _placeholder(expected: Any) -> Any:
    """Stands for a required value that is missing; mistakes about it are left out."""
    if typing.get_origin(expected) is tuple:
        return ()
    return Decimal(0) if expected is Decimal else ""


def _remedy(node: yaml.ScalarNode, kind: Any) -> str:
    kind = base_type(kind)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return nearest(node.value, [str(member.value) for member in kind])
    return ""
