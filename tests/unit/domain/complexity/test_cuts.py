"""Cuts: shares of the traffic, budgets, and what is recent."""

import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.shared.domain.complexity.cuts import (
    BINS,
    Cuts,
    RecentScores,
    shares_of,
    shares_within,
    tier_name,
    tier_of,
)
from services.shared.domain.configuration_routing import WhenUnsure


def _share_reached(recent: RecentScores, wanted: tuple[float, ...], unsure: float) -> list[float]:
    draw = random.Random(3)
    counts, cuts = [0] * len(wanted), Cuts.of(recent, wanted)
    for index in range(30_000):
        value, is_unsure = draw.betavariate(2, 7), draw.random() < unsure
        if index >= 20_000:
            if index % 1_000 == 0:
                cuts = Cuts.of(recent, wanted)
            tier = tier_of(
                value,
                is_unsure=is_unsure,
                cuts=cuts,
                when_unsure=WhenUnsure.MIDDLE,
                targets=len(wanted),
            )
            counts[tier.index] += 1
        recent.add(value, is_unsure=is_unsure)
    return [count / 10_000 for count in counts]


@pytest.mark.parametrize("targets", [2, 3, 4])
@pytest.mark.parametrize("unsure", [0.0, 0.1])
def test_each_tier_gets_its_share_of_own_traffic(targets: int, unsure: float) -> None:
    """Whatever the scores are like, and with unsure requests counted in."""
    wanted = shares_of(0.2, targets)
    reached = _share_reached(RecentScores(), wanted, unsure)
    assert reached == pytest.approx(wanted, abs=0.02)


def test_reference_scores_count_until_own_ones_do() -> None:
    """The first cut is the reference's; after some thousand requests it is that of own traffic."""
    recent = RecentScores([0.1, 0.2, 0.3, 0.4])
    assert Cuts.of(recent, (0.75, 0.25)).limits[0] == pytest.approx(0.4, abs=1 / BINS)
    for _ in range(5_000):
        recent.add(0.805, is_unsure=False)
    cuts = Cuts.of(recent, (0.75, 0.25))
    assert cuts.limits[0] == pytest.approx(0.805, abs=1 / BINS)
    assert cuts.requests == 5_000


def test_what_is_old_is_forgotten() -> None:
    """A change of the traffic moves the cut, also after very many requests."""
    recent = RecentScores()
    for _ in range(60_000):
        recent.add(0.2, is_unsure=True)
    assert recent.unsure_share > 0.99
    for _ in range(20_000):
        recent.add(0.9, is_unsure=False)
    assert recent.unsure_share < 0.01
    assert recent.cut_above(0.5) == pytest.approx(0.9, abs=1 / BINS)


def test_equal_requests_in_equal_order_give_equal_cuts() -> None:
    """No clock and no randomness takes part."""
    cuts = []
    for _ in range(2):
        recent, draw = RecentScores(), random.Random(5)
        for _ in range(1_000):
            recent.add(draw.random(), is_unsure=draw.random() < 0.1)
        cuts.append(Cuts.of(recent, shares_of(0.3, 3)))
    assert cuts[0] == cuts[1]


def test_a_share_of_all_or_nothing_cuts_nothing_off() -> None:
    """At 0 no score reaches the strong tier, not even 1; at 1 every score does."""
    recent = RecentScores()
    assert Cuts.of(recent, (1.0, 0.0)).limits[0] > 1
    assert Cuts.of(recent, (0.0, 1.0)).limits == (0.0,)
    assert recent.cut_above(2.0) == 0.0


def test_unsure_requests_may_take_a_whole_tier() -> None:
    """Where they are more than the share of their tier, that tier gets no sure request."""
    recent = RecentScores()
    for _ in range(5_000):
        recent.add(0.5, is_unsure=True)
    strong = Cuts.of(recent, (0.8, 0.2), when_unsure=WhenUnsure.STRONG)
    assert strong.limits[0] > 1
    assert Cuts.of(recent, (1.0,)).limits == ()
    assert Cuts.of(recent, (0.0, 1.0), when_unsure=WhenUnsure.STRONG).limits == (0.0,)


def test_a_tier_that_only_unsure_requests_fill_leaves_the_shares_as_they_are() -> None:
    """There is nothing to divide by where no share is left."""
    recent = RecentScores()
    for _ in range(200_000):
        recent.add(0.5, is_unsure=True)
    assert recent.unsure_share == pytest.approx(1.0)
    assert len(Cuts.of(recent, (0.0, 0.0, 1.0), when_unsure=WhenUnsure.STRONG).limits) == 2


@given(st.floats(0, 1), st.integers(1, 6))
def test_shares_add_up_and_the_strongest_gets_its_own(strong: float, targets: int) -> None:
    """For every share and number of targets."""
    shares = shares_of(strong, targets)
    assert len(shares) == targets
    assert sum(shares) == pytest.approx(1)
    assert shares[-1] == pytest.approx(1.0 if targets == 1 else strong, abs=1e-6)


@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=5), st.floats(0, 200))
def test_a_budget_is_kept_where_the_weakest_target_can_keep_it(
    costs: list[float], budget: float
) -> None:
    """The spend is never above it, unless even the weakest target alone costs more."""
    costs = sorted(costs)
    shares = shares_within(budget, costs)
    spent = sum(share * cost for share, cost in zip(shares, costs, strict=True))
    assert sum(shares) == pytest.approx(1)
    assert spent <= max(budget, costs[0]) * (1 + 1e-9)


def test_a_budget_is_used_up() -> None:
    """Half way between two targets half of the traffic goes to the stronger one."""
    assert shares_within(6, [2, 10]) == pytest.approx((0.5, 0.5))
    assert shares_within(1_000, [2, 10]) == (0.0, 1.0)


@given(st.floats(0, 1), st.floats(0, 1))
def test_a_harder_request_never_gets_a_weaker_target(one: float, other: float) -> None:
    """Tiers follow the score."""
    cuts = Cuts((0.3, 0.7), (0.4, 0.3, 0.3))
    tiers = [
        tier_of(score, is_unsure=False, cuts=cuts, when_unsure=WhenUnsure.WEAK, targets=3).index
        for score in sorted((one, other))
    ]
    assert all(low <= high for low, high in pairwise(tiers))


@pytest.mark.parametrize(
    ("policy", "targets", "index"),
    [
        (WhenUnsure.WEAK, 3, 0),
        (WhenUnsure.MIDDLE, 3, 1),
        (WhenUnsure.MIDDLE, 2, 1),
        (WhenUnsure.MIDDLE, 1, 0),
        (WhenUnsure.STRONG, 3, 2),
    ],
)
def test_unsure_goes_where_the_policy_says(policy: WhenUnsure, targets: int, index: int) -> None:
    """The middle of two is the stronger one: not knowing is never cheap by accident."""
    cuts = Cuts((0.5,) * (targets - 1), (1 / targets,) * targets)
    tier = tier_of(0.0, is_unsure=True, cuts=cuts, when_unsure=policy, targets=targets)
    assert tier.index == index
    assert tier.reason == f"no cue found, so {policy.value}"


def test_the_reason_names_the_cuts_that_were_used() -> None:
    """A decision can be understood without the histogram of that moment."""
    cuts = Cuts((0.25, 0.5), (0.5, 0.3, 0.2))
    tier = tier_of(0.3, is_unsure=False, cuts=cuts, when_unsure=WhenUnsure.WEAK, targets=3)
    assert (tier.name, tier.reason) == ("medium", "score 0.300, cuts 0.250/0.500")
    alone = tier_of(
        0.3, is_unsure=False, cuts=Cuts((), (1.0,)), when_unsure=WhenUnsure.WEAK, targets=1
    )
    assert alone.reason == "score 0.300"


def test_tiers_have_names() -> None:
    """From easy to hard."""
    assert [tier_name(index, 3) for index in range(3)] == ["easy", "medium", "hard"]
    assert [tier_name(index, 4) for index in (1, 2)] == ["medium-1", "medium-2"]
