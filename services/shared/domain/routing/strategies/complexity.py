"""The strategy ``complexity``: the harder a request looks, the stronger its target."""

from collections.abc import Sequence

from services.shared.domain.complexity.classifier import Complexity
from services.shared.domain.complexity.cuts import (
    Cuts,
    RecentScores,
    shares_of,
    shares_within,
    tier_of,
)
from services.shared.domain.complexity.prompt import prompt_text
from services.shared.domain.money import Usage, cost_nanousd, nanousd_from_usd
from services.shared.domain.routing.gates import Candidate
from services.shared.domain.routing.strategies.expected_cost import (
    expected_output_tokens,
    price_of,
)
from services.shared.domain.routing.strategies.strategy import Choice, Situation

_REQUESTS = 1_000
_UNSURE = Complexity(value=0.5, is_unsure=True)


def by_complexity(situation: Situation) -> Choice:
    """The target of the request's tier first, then stronger ones, then weaker ones."""
    settings = situation.model.complexity
    scored = scored_by(situation)
    tier = tier_of(
        scored.value,
        is_unsure=scored.is_unsure,
        cuts=cuts_of(situation),
        when_unsure=settings.when_unsure,
        targets=len(situation.candidates),
    )
    return Choice(
        ordered=from_rank(situation, tier.index),
        reason=f"{tier.name}: {tier.reason}",
        score=0.0 if scored.is_unsure else scored.value,
        tier=tier.name,
    )


def scored_by(situation: Situation) -> Complexity:
    """How hard the request looks."""
    classifier = situation.classifier
    return _UNSURE if classifier is None else classifier.score(prompt_text(situation.request))


def cuts_of(situation: Situation) -> Cuts:
    """The cuts of an alias, from its recent scores."""

    def laid(recent: RecentScores) -> Cuts:
        settings = situation.model.complexity
        return Cuts.of(recent, shares_for(situation), when_unsure=settings.when_unsure)

    return situation.observed.cuts(situation.request.model, laid)


def shares_for(situation: Situation) -> tuple[float, ...]:
    """The share of the traffic that each target is to get."""
    settings = situation.model.complexity
    if settings.usd_per_1000 is None:
        return shares_of(settings.strong_share, len(situation.candidates))
    budget = nanousd_from_usd(settings.usd_per_1000) / _REQUESTS
    return shares_within(budget, _usual_costs(situation))


def _usual_costs(situation: Situation) -> Sequence[float]:
    """What a usual request of the alias costs at each target; the one at hand while none is."""
    request, observed = situation.request, situation.observed
    input_tokens = observed.input_tokens(request.model)
    costs = []
    for candidate in situation.candidates:
        learnt = observed.output_tokens(request.model, candidate.name)
        usage = Usage(
            input_tokens=request.estimated_input_tokens
            if input_tokens is None
            else round(input_tokens),
            output_tokens=expected_output_tokens(request, None)
            if learnt is None
            else round(learnt),
        )
        costs.append(float(cost_nanousd(usage, price_of(request, candidate))))
    return costs


def from_rank(situation: Situation, rank: int) -> list[Candidate]:
    """The target at a position of the alias, then stronger ones, then weaker ones downwards."""
    passed = list(situation.passed)
    weaker = 0
    for candidate in situation.candidates[:rank]:
        if weaker < len(passed) and candidate is passed[weaker]:
            weaker += 1
    return passed[weaker:] + passed[:weaker][::-1]
