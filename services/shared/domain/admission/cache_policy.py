"""What a caller lets the cache do: by the body's ``cache`` object, by headers, or by both.

The stricter of two wins. A namespace only parts a tenant's own cache: the tenant stands before it
in every key, so no namespace leads into another tenant's answers.
"""

import re
from collections.abc import Mapping
from typing import Any

from services.shared.domain.admission.faults import (
    Fault,
    public_error,
    shown,
    wrong_type,
    wrong_value,
)
from services.shared.domain.admission.limits import MAX_CACHE_AGE_S, MAX_LABEL_CHARS
from services.shared.domain.admission.rules import (
    boolean,
    fields_fault,
    integer,
    matching,
    number,
)
from services.shared.domain.errors import PublicError
from services.shared.domain.events import CachePolicy

CACHE_FIELD = "cache"
"""Top-level field that is ours and never sent to a provider."""

CACHE_CONTROL_HEADER = "cache-control"
CACHE_NAMESPACE_HEADER = "x-millrace-cache-namespace"
ONLY_IF_CACHED = "only-if-cached"

ANY_AGE_S = -1
_MAX_AGES = ("max-age", "s-maxage", "ttl")
_DIGITS = re.compile(r"[0-9]{1,10}")
_RATIO = re.compile(r"0?\.[0-9]{1,6}|0|1(?:\.0{1,6})?")

label = matching(
    rf"[A-Za-z0-9_.:-]{{1,{MAX_LABEL_CHARS}}}",
    f"1 to {MAX_LABEL_CHARS} letters, digits, '_', '.', ':' and '-'",
)
_age = integer(0, MAX_CACHE_AGE_S)
_ratio = number(0, 1)
_CONTROLS = {
    "no-cache": boolean,
    "no-store": boolean,
    "namespace": label,
    **dict.fromkeys(_MAX_AGES, _age),
    "no-semantic": boolean,
    "min-similarity": _ratio,
}


def cache_controls(value: object) -> Fault | None:
    """Accepts the body's ``cache`` object; it is ours, so unknown fields in it are mistakes."""
    if type(value) is not dict:
        return wrong_type("an object", value)
    unknown = next((name for name in value if name not in _CONTROLS), None)
    if unknown is not None:
        known = ", ".join(f"'{name}'" for name in _CONTROLS)
        return Fault("unknown_parameter", "Unknown parameter in", f"expected {known}")
    return fields_fault(value, _CONTROLS, ())


def body_cache_policy(document: dict[str, Any]) -> CachePolicy:
    """The policy of an admitted body.

    ``max-age``, ``s-maxage`` and ``ttl`` all say how old an answer may be at most, in seconds.
    """
    controls = document.get(CACHE_FIELD)
    if not controls:
        return CachePolicy()
    ages = [controls[name] for name in _MAX_AGES if controls.get(name) is not None]
    return _policy(
        no_cache=bool(controls.get("no-cache")),
        no_store=bool(controls.get("no-store")),
        max_age_s=min(ages, default=ANY_AGE_S),
        namespace=controls.get("namespace") or "",
        no_semantic=bool(controls.get("no-semantic")),
        min_similarity=float(controls.get("min-similarity") or 0),
    )


def merge_cache_policy(
    body_policy: CachePolicy, headers: Mapping[str, str]
) -> CachePolicy | PublicError:
    """Join what the body and the HTTP headers say.

    Unknown ``Cache-Control`` directives are ignored, as RFC 9111 asks; ``no-semantic`` and
    ``min-similarity`` are extensions of ours, and ``only-if-cached`` is refused.

    Args:
        body_policy: ``Admitted.cache_policy``.
        headers: Request headers, names in lower case; one that came twice is joined by commas.
    """
    if ONLY_IF_CACHED in _directive_names(headers):
        # To ignore this one would cost what its caller wants to spend in no case.
        return PublicError(
            code="invalid_header",
            message=f"Header '{CACHE_CONTROL_HEADER}' says '{ONLY_IF_CACHED}', which is not"
            " supported: what is not kept is asked of a provider.",
            param=CACHE_CONTROL_HEADER,
        )
    from_headers = _headers_policy(headers)
    if isinstance(from_headers, PublicError):
        return from_headers
    return joined(body_policy, from_headers)


def joined(one: CachePolicy, other: CachePolicy) -> CachePolicy | PublicError:
    """The stricter of two policies in every respect; two namespaces contradict each other."""
    if one.namespace and other.namespace and one.namespace != other.namespace:
        fault = wrong_value("two different namespaces are given")
        return public_error(fault.within("namespace").within(CACHE_FIELD))
    ages = [policy.max_age_s for policy in (one, other) if policy.max_age_s != ANY_AGE_S]
    return _policy(
        no_cache=one.no_cache or other.no_cache,
        no_store=one.no_store or other.no_store,
        max_age_s=min(ages, default=ANY_AGE_S),
        namespace=one.namespace or other.namespace,
        no_semantic=one.no_semantic or other.no_semantic,
        min_similarity=max(one.min_similarity, other.min_similarity),
    )


def declared_policy_error(policy: CachePolicy) -> PublicError | None:
    """What is wrong with a policy that a record declares."""
    fault = None
    if policy.max_age_s != ANY_AGE_S and (fault := _age(policy.max_age_s)) is not None:
        fault = fault.within("max_age_s")
    elif policy.namespace and (fault := label(policy.namespace)) is not None:
        fault = fault.within("namespace")
    elif (fault := _ratio(policy.min_similarity)) is not None:
        fault = fault.within("min_similarity")
    return None if fault is None else public_error(fault.within("cache_policy"))


def _policy(  # noqa: PLR0913  # one a control
    *,
    no_cache: bool,
    no_store: bool,
    max_age_s: int,
    namespace: str,
    no_semantic: bool,
    min_similarity: float,
) -> CachePolicy:
    return CachePolicy(
        no_cache=no_cache or max_age_s == 0,  # nothing kept is of age 0
        no_store=no_store,
        max_age_s=max_age_s,
        namespace=namespace,
        no_semantic=no_semantic,
        min_similarity=min_similarity,
    )


def _headers_policy(headers: Mapping[str, str]) -> CachePolicy | PublicError:
    namespace = headers.get(CACHE_NAMESPACE_HEADER, "").strip()
    if namespace and label(namespace) is not None:
        return _header_error(CACHE_NAMESPACE_HEADER, namespace)
    directives = _directives(headers)
    ages = [value.strip('"') for name, _, value in directives if name == "max-age"]
    for age in ages:
        if not _DIGITS.fullmatch(age) or int(age) > MAX_CACHE_AGE_S:
            return _header_error(CACHE_CONTROL_HEADER, f"max-age={age}")
    ratios = [value.strip('"') for name, _, value in directives if name == "min-similarity"]
    for ratio in ratios:
        if not _RATIO.fullmatch(ratio):
            return _header_error(CACHE_CONTROL_HEADER, f"min-similarity={ratio}")
    names = _directive_names(headers)
    return _policy(
        no_cache="no-cache" in names,
        no_store="no-store" in names,
        max_age_s=min(map(int, ages), default=ANY_AGE_S),
        namespace=namespace,
        no_semantic="no-semantic" in names,
        min_similarity=max(map(float, ratios), default=0.0),
    )


def _directives(headers: Mapping[str, str]) -> list[tuple[str, str, str]]:
    return [
        directive.strip().lower().partition("=")
        for directive in headers.get(CACHE_CONTROL_HEADER, "").split(",")
    ]


def _directive_names(headers: Mapping[str, str]) -> set[str]:
    return {name for name, _, _ in _directives(headers)}


def _header_error(header: str, value: str) -> PublicError:
    return PublicError(
        code="invalid_header",
        message=f"Header '{header}' says {shown(value)}; ages are 0 to {MAX_CACHE_AGE_S} seconds,"
        " similarities 0 to 1, namespaces letters, digits, '_', '.', ':' and '-'.",
        param=header,
    )
