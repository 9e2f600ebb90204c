r"""Recognises regular expressions that make a backtracking engine work exponentially long.

The gateway never compiles a caller's pattern. A provider may, to hold a model to a schema, so the
plain forms that can only do harm are refused: an unbounded repetition of something that is itself
one and needs no other character, such as ``(a+)+`` or ``(\w*\s?)*``. Each can be written without
the inner repetition. ``(\.[a-z]+)*`` is none of them: its dot keeps the rounds apart.
"""

import re

import msgspec

_PIECE = re.compile(
    r"""
    (?P<open> \( (?: \? (?: [:=!>] | <[=!] | P?<\w+> ) )? )
    | (?P<bar> \| )
    | (?P<plain> [^\\\[(){}|*+?]+ ) (?! [*+?{] )
    | (?: (?P<close> \) ) | \\. | \[\^?\]? (?: [^\]\\] | \\. )*+ \]? | . )
      (?: (?P<unbounded> [*+] | \{\d*,(?:\d{2,})?\} ) | (?P<optional> \? | \{0?,\d\} ) | \{\d+\} )?
      [?+]?
    """,
    re.DOTALL | re.VERBOSE,
)


class _Group(msgspec.Struct):
    """What the alternative being read holds.

    Attributes:
        has_unbounded: A repetition without end (ten rounds and more count as one).
        has_fixed: Something that every round must match.
        follows_bare: An alternative before it was nothing but a repetition.
    """

    has_unbounded: bool = False
    has_fixed: bool = False
    follows_bare: bool = False

    @property
    def is_bare(self) -> bool:
        return self.follows_bare or (self.has_unbounded and not self.has_fixed)


def is_explosive(pattern: str) -> bool:
    """Whether a pattern repeats a bare repetition. Linear in its length."""
    groups = [_Group()]
    for piece in _PIECE.finditer(pattern):
        kind = piece.lastgroup
        if kind == "open":
            groups.append(_Group())
        elif kind == "bar":
            groups[-1] = _Group(follows_bare=groups[-1].is_bare)
        else:
            is_bare_group = bool(piece["close"]) and len(groups) > 1 and groups.pop().is_bare
            if is_bare_group and kind == "unbounded":
                return True
            if is_bare_group or kind == "unbounded":
                groups[-1].has_unbounded = True
            elif kind != "optional":
                groups[-1].has_fixed = True
    return False
