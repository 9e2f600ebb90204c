"""The strategy ``fastest``: by observed times, with trials of what is not known well enough."""

import hashlib

from services.shared.domain.routing.gates import Candidate
from services.shared.domain.routing.strategies.strategy import Choice, Situation

KNOWN_SAMPLES = 3.0
"""A target with fewer samples, old ones counted less, is not known."""

TRIAL_SHARE = 0.05
"""Share of the requests that go to targets that are not known, while some are."""

MARGIN = 0.15
"""By how much another target must be faster to take the lead."""


def by_time(situation: Situation) -> Choice:
    """Targets by the time to their first output (streams) or their end (the rest)."""
    known, unknown = [], []
    for candidate in situation.passed:
        time_ms = time_at(situation, candidate)
        if time_ms is None:
            unknown.append(candidate)
        else:
            known.append((time_ms, candidate))
    draw = _draw(situation.request.request_id)
    if unknown and (not known or draw < TRIAL_SHARE):
        tried = unknown[int(draw * 2**32) % len(unknown)]
        others = [candidate for _, candidate in _fastest_first(situation, known)]
        others += [candidate for candidate in unknown if candidate is not tried]
        reason = f"a trial: fewer than {KNOWN_SAMPLES:.0f} recent answers of it are known"
        return Choice(ordered=[tried, *others], reason=reason, is_trial=True)
    ordered = _fastest_first(situation, known)
    reason = f"{_what(situation)} {ordered[0][0]:.0f} ms"
    if len(ordered) > 1:
        reason += f"; next {ordered[1][0]:.0f} ms"
    return Choice(ordered=[candidate for _, candidate in ordered] + unknown, reason=reason)


def time_at(situation: Situation, candidate: Candidate) -> float | None:
    """Time at a target, ms; None when it is not known well enough."""
    times = situation.observed.times(candidate.name)
    if times is None:
        return None
    seen = times.first_output if situation.request.stream else times.whole
    return seen.mean if seen.samples(situation.now_ms) >= KNOWN_SAMPLES else None


def _fastest_first(
    situation: Situation, known: list[tuple[float, Candidate]]
) -> list[tuple[float, Candidate]]:
    """By time; the target that leads keeps the lead unless another is clearly faster."""
    leader = situation.observed.leader(situation.request.model)

    def handicapped(timed: tuple[float, Candidate]) -> float:
        time_ms, candidate = timed
        return time_ms * (1.0 - MARGIN) if candidate.name == leader else time_ms

    return sorted(known, key=handicapped)


def _what(situation: Situation) -> str:
    return "time to first output" if situation.request.stream else "duration"


def _draw(request_id: str) -> float:
    """A number in [0, 1) that depends on the request alone, so that trials can be repeated."""
    digest = hashlib.blake2b(request_id.encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) / 2**53
