"""What a tenant's controller of the mode ``verified`` says to a candidate."""

from typing import Any

import msgspec

from services.cache_lookup.verified.bound import DOUBT
from services.cache_lookup.verified.controller import Controller
from services.cli.cache.report import TenantReport, report_of


class Trust(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a candidate's answer is served, and by what evidence.

    Attributes:
        serves: Whether it is.
        evidence: What is known of the tenant; None = nothing yet.
        veto: Score up to which the entry is not served, as it was found wrong there; None = never.
    """

    serves: bool
    evidence: TenantReport | None = None
    veto: float | None = None


def trust_of(controller: Controller | None, *, tenant: str, entry_id: str, score: float) -> Trust:
    """Ask a tenant's controller about a candidate; None = he has none yet."""
    if controller is None:
        return Trust(serves=False)
    return Trust(
        serves=controller.serves(entry_id, score),
        evidence=report_of(tenant, controller),
        veto=controller.veto_of(entry_id),
    )


def verdict_of(trust: Trust, *, served: str, score: float) -> str:
    """The answer, in one or two sentences.

    Args:
        trust: What the controller says.
        served: What would be served.
        score: The candidate's score.
    """
    known = trust.evidence
    if known is None:
        return f"A miss: nothing was judged of this tenant yet, so nothing is served; not {served}."
    sure = f"{known.requests} compared requests, {known.found_wrong} wrong hits found"
    if known.threshold is None or known.wrong_per_request is None:
        return f"A miss: the tenant's evidence ({sure}) bears no hit yet; not {served}."
    if trust.veto is not None and score <= trust.veto:
        return (
            f"A miss: {served} was found wrong at {trust.veto:.4f}, so it is served to closer "
            "questions only."
        )
    if not trust.serves:
        return (
            f"A miss: the tenant's controller serves from {known.threshold:.2f} on; not {served}."
        )
    return (
        f"Served is {served}: the tenant's controller serves from {known.threshold:.2f} on. "
        f"By {sure}, at most {known.wrong_per_request:.2%} of requests are served a wrong answer "
        f"({1 - DOUBT:.0%} confidence)."
    )


def trust_document(trust: Trust) -> dict[str, Any]:
    """The same for programs."""
    return {
        "serves": trust.serves,
        "veto": trust.veto,
        "evidence": None if trust.evidence is None else msgspec.to_builtins(trust.evidence),
    }
