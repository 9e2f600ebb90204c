"""Rules for the JSON Schemas of tools and response formats.

A schema is passed on, never compiled and never followed: no reference in it is fetched. What could
only hang whoever compiles it is refused: references that lead in a circle without ever descending
into the value, and explosive regular expressions. Recursive schemas are fine.
"""

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

import msgspec

from services.shared.domain.admission.explosive_patterns import is_explosive
from services.shared.domain.admission.faults import Fault, too_long, wrong_type, wrong_value
from services.shared.domain.admission.limits import MAX_PATTERN_CHARS, MAX_SCHEMA_BYTES

Node = dict[str, Any]

_INDEX = re.compile(r"[0-9]{1,6}")
_PATTERN_KEYWORDS = frozenset({"pattern", "patternProperties"})
_IN_PLACE = ("allOf", "anyOf", "oneOf")


def json_schema(value: object) -> Fault | None:
    """Accepts JSON Schemas of bounded size that nobody can hang on."""
    if type(value) is not dict:
        return wrong_type("an object", value)
    size_bytes = len(msgspec.json.encode(value))
    if size_bytes > MAX_SCHEMA_BYTES:
        return too_long("bytes", MAX_SCHEMA_BYTES, size_bytes)
    nodes = _nodes(value)
    fault = _patterns_fault([node for node in nodes if not _PATTERN_KEYWORDS.isdisjoint(node)])
    if fault is not None:
        return fault
    if _has_empty_circle(value, [node for node in nodes if "$ref" in node]):
        return wrong_value("'$ref' leads in a circle")
    return None


def _nodes(schema: Node) -> list[Node]:
    """All objects of a schema."""
    nodes = []
    waiting: list[Any] = [schema]
    for value in waiting:  # which grows under way
        if type(value) is dict:
            nodes.append(value)
            waiting.extend(value.values())
        elif type(value) is list:
            waiting.extend(value)
    return nodes


def _patterns_fault(nodes: list[Node]) -> Fault | None:
    patterns: list[str] = []
    for node in nodes:
        by_key = node.get("patternProperties")
        if type(by_key) is dict:
            patterns.extend(by_key)
        pattern = node.get("pattern")
        if type(pattern) is str:
            patterns.append(pattern)
    total_chars = sum(map(len, patterns))
    if total_chars > MAX_PATTERN_CHARS:
        return too_long("characters in all patterns", MAX_PATTERN_CHARS, total_chars)
    if any(map(is_explosive, patterns)):
        return wrong_value("a pattern repeats a repetition, which may never end")
    return None


def _has_empty_circle(root: Node, referring: list[Node]) -> bool:
    """Whether some object leads back to itself with no step down into the value.

    A walk in depth: an object is on the way while what follows it is looked at, then done.

    Args:
        root: The schema.
        referring: Its objects with a reference; every circle has one, as the rest is a tree.
    """
    on_the_way: set[int] = set()
    done: set[int] = set()
    for start in referring:
        if id(start) in done:
            continue
        on_the_way.add(id(start))
        path = [(start, _followers(root, start))]
        while path:
            node, followers = path[-1]
            follower = next(followers, None)
            if follower is None:
                path.pop()
                on_the_way.discard(id(node))
                done.add(id(node))
            elif id(follower) in on_the_way:
                return True
            elif id(follower) not in done:
                on_the_way.add(id(follower))
                path.append((follower, _followers(root, follower)))
    return False


def _followers(root: Node, node: Node) -> Iterator[Node]:
    """Objects that judge the same value as this one."""
    target = _resolved(root, node.get("$ref"))
    if type(target) is dict:
        yield target
    for keyword in _IN_PLACE:
        members = node.get(keyword)
        if type(members) is list:
            yield from (member for member in members if type(member) is dict)


def _resolved(root: Node, reference: object) -> object:
    """What a reference into the same schema points to; None for any other."""
    if type(reference) is not str or not (reference == "#" or reference.startswith("#/")):
        return None
    value: object = root
    pointer = unquote(reference) if "%" in reference else reference
    for step in pointer.split("/")[1:]:
        key = step.replace("~1", "/").replace("~0", "~")
        if type(value) is dict:
            value = value.get(key)
        elif type(value) is list and _INDEX.fullmatch(key) and int(key) < len(value):
            value = value[int(key)]
        else:
            return None
    return value
