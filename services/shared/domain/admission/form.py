"""The form of a request body: which rule each field obeys, and which fields must agree.

Fields that no rule names are accepted and kept: clients expect parameters to work that are newer
than the gateway. Excepted are those by which a caller would choose where the gateway connects or
with whose credentials.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from services.shared.domain.admission.faults import Fault, missing, shown
from services.shared.domain.admission.limits import MAX_NAME_CHARS
from services.shared.domain.admission.rules import Rule

Agreement = Callable[[dict[str, Any]], Fault | None]
"""What must hold between fields; called when each by itself is right."""

_ADDRESS_OR_CREDENTIAL = re.compile(
    r"(api|base|proxy|server|webhook|callback)_?(base|ur[il]|host|version)|custom_?host|hostname"
    r"|endpoint|prox(y|ies)$|headers?$|credential|password|secret|authorization|bearer"
    r"|(api|access|account|private)_?key|(api|access|account|auth|ad|hf|session|identity)_?token"
    r"|^(host|token|key|auth)$|^(aws|azure|vertex)_"
)


class Form(msgspec.Struct, frozen=True, kw_only=True):
    """What a body must look like.

    Attributes:
        fields: Rules by name of the top-level field.
        required: Fields that must be there.
        agreements: What must hold between fields.
    """

    fields: Mapping[str, Rule]
    required: tuple[str, ...]
    agreements: tuple[Agreement, ...] = ()


def form_fault(form: Form, document: dict[str, Any]) -> Fault | None:
    """What is wrong with a body; the first fault in the order of its fields."""
    for name in form.required:
        if name not in document:
            return missing().within(name)
    for name, value in document.items():
        fault = _field_fault(form, name, value)
        if fault is not None:
            return fault
    for agreement in form.agreements:
        fault = agreement(document)
        if fault is not None:
            return fault
    return None


def _field_fault(form: Form, name: str, value: object) -> Fault | None:
    rule = form.fields.get(name)
    if rule is None:
        if _is_refused(name):
            return Fault("unknown_parameter", "Unknown parameter:", path=shown(name)[1:-1])
        return None
    if value is None and name not in form.required:
        return None
    fault = rule(value)
    return fault and fault.within(name)


def _is_refused(name: str) -> bool:
    """Whether a field that no rule names may not be passed on."""
    if len(name) > MAX_NAME_CHARS or not name.isprintable():
        return True
    return _ADDRESS_OR_CREDENTIAL.search(name.lower().replace("-", "_")) is not None
