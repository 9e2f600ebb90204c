"""Strategies that look at the request and the configuration only."""

import hashlib
import math

from services.shared.domain.routing.gates import Candidate, shown
from services.shared.domain.routing.strategies.strategy import Choice, Situation


def as_listed(situation: Situation) -> Choice:
    """Targets as configured."""
    return Choice(ordered=list(situation.passed), reason="first in order that can serve it")


def by_tier(situation: Situation) -> Choice:
    """Targets that name the caller's tier, then those open to all."""
    ordered = sorted(situation.passed, key=lambda candidate: not candidate.target.tiers)
    if ordered[0].target.tiers:
        return Choice(ordered=ordered, reason=f"serves tier '{shown(situation.request.tier)}'")
    return Choice(ordered=ordered, reason="serves every tier")


def by_weight(situation: Situation) -> Choice:
    """Weighted rendezvous hashing.

    Shares are exact in the long run, a conversation stays where it is, the order in the file does
    not count, and a target that drops out moves only its own share.
    """
    request = situation.request
    if request.conversation_id:
        sticky, by = f"{request.tenant}\0{request.conversation_id}", "by conversation"
    else:
        sticky, by = request.request_id, "by request"
    weighted = [candidate for candidate in situation.passed if candidate.target.weight]
    reserve = [candidate for candidate in situation.passed if not candidate.target.weight]
    ordered = sorted(weighted, key=lambda c: (-_weighted_draw(sticky, c), c.name)) + reserve
    if not weighted:
        return Choice(ordered=ordered, reason="only a fallback can serve it")
    total = sum(candidate.target.weight for candidate in weighted)
    return Choice(ordered=ordered, reason=f"weight {ordered[0].target.weight} of {total}, {by}")


def _weighted_draw(sticky: str, candidate: Candidate) -> float:
    """A number that is largest for each target with the probability of its share.

    It is ``weight / -ln(u)`` with ``u`` uniform in (0, 1), drawn from a hash (Schindelhauer and
    Schomaker, "Weighted distributed hash tables", 2005). 52 bits keep ``u`` below 1 as a float.
    """
    digest = hashlib.blake2b(f"{sticky}\0{candidate.name}".encode(), digest_size=8).digest()
    u = ((int.from_bytes(digest, "big") >> 12) + 0.5) / 2**52
    return candidate.target.weight / -math.log(u)
