"""Response headers that say how an answer came about."""

from services.shared.domain.events import CacheEvidence, CacheOutcome, Route, Target
from services.shared.domain.money import usd_from_nanousd

MAX_HEADER_CHARACTERS = 256


def route_headers(route: Route | None, served_by: Target | None = None) -> dict[str, str]:
    """Headers ``x-millrace-route-*``; the expected cost is in USD.

    Args:
        route: The router's decision; None = the request was never routed.
        served_by: The target that answered; None = the first of the route.
    """
    if route is None:
        return {}
    names = [f"{target.provider}/{target.model}" for target in route.targets]
    if served_by is not None:
        chosen = f"{served_by.provider}/{served_by.model}"
    else:
        chosen = names[0] if names else ""
    headers = {
        "x-millrace-route-strategy": route.strategy,
        "x-millrace-route-reason": route.reason,
        "x-millrace-route-target": chosen,
        "x-millrace-route-fallbacks": ", ".join(name for name in names if name != chosen),
        "x-millrace-route-config-version": route.config_version,
        "x-millrace-route-tier": route.tier,
        "x-millrace-route-score": f"{route.score:.3f}" if route.score else "",
        "x-millrace-route-expected-cost": f"{usd_from_nanousd(route.expected_cost_nanousd):f}"
        if route.expected_cost_nanousd
        else "",
    }
    return {name: header_text(value) for name, value in headers.items() if value}


def cache_headers(cache: CacheEvidence) -> dict[str, str]:
    """Headers ``x-cache`` and, on a hit, the answer's age in seconds and its first request.

    Of a semantic hit also how similar that one's question is, 0..1.
    """
    headers = {"x-cache": cache.outcome}
    if cache.outcome in {CacheOutcome.EXACT_HIT, CacheOutcome.SEMANTIC_HIT}:
        headers["age"] = str(cache.age_s)
        headers["x-millrace-cache-source"] = header_text(cache.source_request_id)
    if cache.outcome == CacheOutcome.SEMANTIC_HIT:
        headers["x-millrace-cache-similarity"] = f"{cache.similarity:.4f}"
    return headers


def header_text(text: str) -> str:
    """A text as it may stand in a header: visible ASCII and spaces, bounded."""
    visible = "".join(
        character if " " <= character <= "~" else "?"
        for character in text[: MAX_HEADER_CHARACTERS + 1]
    )
    if len(visible) <= MAX_HEADER_CHARACTERS:
        return visible
    return visible[: MAX_HEADER_CHARACTERS - 3] + "..."
