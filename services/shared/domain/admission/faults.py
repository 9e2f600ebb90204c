"""What is wrong with a field, where, and how a caller is told.

A rule returns a ``Fault`` whose path begins at the value it looked at; whoever called it puts its
own step in front (``within``). So paths are only spelled out for requests that are refused.
"""

import msgspec

from services.shared.domain.errors import PublicError

MAX_SHOWN_CHARS = 64

_KINDS: dict[type, str] = {
    type(None): "null",
    bool: "a boolean",
    int: "an integer",
    float: "a decimal",
    str: "a string",
    list: "an array",
    dict: "an object",
}


class Fault(msgspec.Struct, frozen=True):
    """What is wrong with a field.

    Attributes:
        code: A key of ``ERRORS``.
        problem: Beginning of the message, up to the field's name.
        detail: What was expected; may be empty.
        path: The field, as OpenAI writes it, e.g. ``messages[0].role``.
    """

    code: str
    problem: str
    detail: str = ""
    path: str = ""

    def within(self, step: str) -> "Fault":
        """The same fault, seen from the object or array that holds the value under ``step``."""
        separator = "." if self.path and not self.path.startswith("[") else ""
        return Fault(self.code, self.problem, self.detail, f"{step}{separator}{self.path}")


def shown(text: str) -> str:
    """A caller's text in quotes, on one line, cut to what a message may echo."""
    quoted = repr(text[:MAX_SHOWN_CHARS])
    return quoted if len(quoted) <= MAX_SHOWN_CHARS else f"{quoted[: MAX_SHOWN_CHARS - 4]}...'"


def missing() -> Fault:
    """A field that must be there is not."""
    return Fault("missing_required_parameter", "Missing required parameter:")


def wrong_type(expected: str, value: object) -> Fault:
    """A value is of another type than ``expected``, e.g. ``a string``."""
    got = _KINDS[type(value)]
    return Fault("invalid_type", "Invalid type for", f"expected {expected}, but got {got} instead")


def wrong_value(detail: str, *, code: str = "invalid_value") -> Fault:
    """A value has the right type and is still not acceptable."""
    return Fault(code, "Invalid value for", detail)


def out_of_range(low: float, high: float) -> Fault:
    """A number, length or count is not between two bounds, both included."""
    return Fault("out_of_range", "Out of range:", f"expected a number from {low} to {high}")


def too_long(unit: str, most: int, got: int) -> Fault:
    """A string or array is longer than accepted."""
    return wrong_value(f"expected at most {most} {unit}, but got {got}")


def public_error(fault: Fault) -> PublicError:
    """The fault as its caller sees it."""
    where = f"{fault.problem} '{fault.path}'"
    message = f"{where}: {fault.detail}." if fault.detail else f"{where}."
    return PublicError(code=fault.code, message=message, param=fault.path)
