"""A tenant's controller: what it certifies, how fast, and what it never serves."""

import math
import random

import pytest

from services.cache_lookup.verified.bound import CEILING, Bets, capital
from services.cache_lookup.verified.controller import (
    EARLY_REQUESTS,
    MOST_VETOES,
    NOTHING,
    THRESHOLDS,
    Controller,
)


def controller(most_wrong: float = 0.02) -> Controller:
    """A controller that knows nothing."""
    return Controller(most_wrong=most_wrong)


def confident() -> Controller:
    """A controller that serves at every threshold."""
    sure = controller()
    sure.saw_none(2_000)
    return sure


def misses(to: Controller, score: float, *, count: int, is_right: bool = True) -> None:
    """Let a candidate of so many misses turn out right, or wrong."""
    for number in range(count):
        to.judged(f"entry-{number}", score=score, is_right=is_right, was_served=False, weight=1.0)


def test_nothing_is_served_before_there_is_evidence() -> None:
    """A new tenant's answers all come from the model."""
    assert controller().threshold == NOTHING
    assert not controller().serves("entry", 1.0)


@pytest.mark.parametrize(("most_wrong", "requests"), [(0.02, 290), (0.01, 585)])
def test_how_much_evidence_a_claim_needs(most_wrong: float, requests: int) -> None:
    """Without an error, 5.9 divided by the bound is enough, and a sixth less is not."""
    young = controller(most_wrong)
    young.saw_none(int(requests * 0.85))
    assert young.threshold == NOTHING
    young.saw_none(int(requests * 0.15) + 1)
    assert young.threshold == THRESHOLDS[0]


def test_errors_of_far_candidates_leave_the_close_ones_alone() -> None:
    """The threshold comes down to where the errors are, and no further."""
    learning = controller()
    for _ in range(20):
        misses(learning, 0.955, count=50)
        misses(learning, 0.85, count=5, is_right=False)
    assert learning.threshold == 0.86
    assert learning.serves("entry", 0.86)
    assert not learning.serves("entry", 0.855)


def test_an_error_that_stands_for_ten_costs_more_than_one() -> None:
    """A served hit that was asked again speaks for those that were not."""
    for weight, is_serving in ((1.0, True), (10.0, False)):
        tenant = confident()
        for number in range(4):
            tenant.judged(
                f"entry-{number}", score=0.99, is_right=False, was_served=True, weight=weight
            )
        assert (tenant.threshold < NOTHING) is is_serving


def test_good_times_do_not_pay_for_bad_ones() -> None:
    """After however many right answers a few errors in a row end the service."""
    for length in (1_000, 100_000):
        tenant = confident()
        tenant.saw_none(length)
        for number in range(5):
            tenant.judged(
                f"entry-{number}", score=0.99, is_right=False, was_served=True, weight=10.0
            )
        assert tenant.threshold == NOTHING


def test_a_wrong_hit_vetoes_its_entry_up_to_its_score() -> None:
    """The entry is served for closer questions only; others are not touched."""
    tenant = confident()
    tenant.judged("entry", score=0.9, is_right=False, was_served=True, weight=1.0)
    assert not tenant.serves("entry", 0.9)
    assert tenant.serves("entry", 0.91)
    assert tenant.serves("another", 0.9)
    tenant.judged("entry", score=0.8, is_right=False, was_served=True, weight=1.0)
    assert not tenant.serves("entry", 0.9), "a later veto lifts none"


def test_a_vetoed_candidate_counts_as_no_error() -> None:
    """What would not have been served cannot have been served wrongly."""
    tenant = confident()
    tenant.judged("entry", score=0.9, is_right=False, was_served=True, weight=1.0)
    for _ in range(100):
        tenant.judged("entry", score=0.9, is_right=False, was_served=False, weight=1.0)
    assert tenant.threshold == THRESHOLDS[0]


def test_vetoes_are_bounded_and_the_oldest_goes_first() -> None:
    """A flood of wrong entries takes no memory without end."""
    tenant = controller()
    for number in range(MOST_VETOES + 1):
        tenant.judged(f"entry-{number}", score=0.9, is_right=False, was_served=True, weight=1.0)
    tenant.saw_none(100_000)
    assert tenant.serves("entry-0", 0.9)
    assert not tenant.serves("entry-1", 0.9)


def test_hits_are_asked_again_less_often_once_a_tenant_is_known() -> None:
    """Three in ten of the first thousand requests, then one in ten."""
    tenant = controller()
    assert tenant.share == 0.3
    tenant.saw_none(EARLY_REQUESTS)
    assert tenant.share == 0.1


def test_a_weight_beyond_reason_is_cut() -> None:
    """A record of another release cannot stake more than there is, nor less than itself."""
    tenant = confident()
    tenant.judged("entry", score=0.99, is_right=False, was_served=True, weight=1e9)
    tenant.judged("entry", score=0.99, is_right=True, was_served=True, weight=-1.0)
    assert tenant.requests == 2_000 + 10 + 1
    tenant.saw_none(0)
    assert tenant.requests == 2_011


def test_a_rate_above_the_bound_is_hardly_ever_certified() -> None:
    """At 1.05 times the bound fewer than one tenant in twenty is ever served in 2,000 requests."""
    noise = random.Random(5)
    served = sum(is_ever_certified(noise, rate=0.021, requests=2_000) for _ in range(200))
    assert served <= 10


def is_ever_certified(noise: random.Random, *, rate: float, requests: int) -> bool:
    """Whether a threshold is at some moment, at a rate of errors."""
    bets = Bets((0.9,), most_wrong=0.02)
    while requests > 0:
        good = min(int(math.log(noise.random()) / math.log1p(-rate)), requests)
        bets.add(weight=1.0, heaviest=1.0, wrong_at=None, count=good)
        if bets.lowest_certified == 0:
            return True
        bets.add(weight=1.0, heaviest=1.0, wrong_at=0.95)
        requests -= good + 1
    return False


def test_a_tenant_that_was_bad_can_become_good() -> None:
    """However bad it was, a few times the first evidence brings the service back."""
    tenant = controller()
    misses(tenant, 0.99, count=2_000, is_right=False)
    assert tenant.threshold == NOTHING
    tenant.saw_none(3_000)
    assert tenant.threshold == THRESHOLDS[0]


def test_the_money_of_all_bettors_is_one() -> None:
    """What those who follow begin with was set aside for them."""
    assert sum(math.exp(capital(number)) for number in range(100_000)) == pytest.approx(1, abs=1e-4)
    assert sum(math.exp(capital(number)) for number in range(100_000)) < 1


def test_wealth_does_not_grow_beyond_its_ceiling() -> None:
    """One error after a long good time counts as much as after a short one."""
    leads = []
    for count in (5_000, 500_000):
        bets = Bets((0.9,), most_wrong=0.02)
        bets.add(weight=1.0, heaviest=1.0, wrong_at=None, count=count)
        for _ in range(3):
            bets.add(weight=1.0, heaviest=1.0, wrong_at=0.95)
        leads.append(bets.wealth(0))
    assert leads[0] == pytest.approx(leads[1])
    assert leads[0] < CEILING
