"""A tenant's controller: what it certifies, how fast, and what it never serves."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.cache_lookup.verified.bound import CEILING, DOUBT, Bets, capital, holds
from services.cache_lookup.verified.controller import (
    LATER_SHARE,
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
        tenant.saw_none(20_000)
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
    tenant.saw_none(1_000_000)
    assert tenant.serves("entry-0", 0.9)
    assert not tenant.serves("entry-1", 0.9)


@pytest.mark.parametrize("most_wrong", [0.02, 0.01, 0.002])
def test_hits_are_asked_again_less_often_the_more_may_be_wrong(most_wrong: float) -> None:
    """All of a new tenant's, then as few as keep the bound certain, and one in ten in the end."""
    tenant = controller(most_wrong)
    assert tenant.share == 1.0
    shares = []
    for allowed in (10, 20, 40, 80):
        tenant.saw_none(int(allowed / most_wrong - tenant.requests))
        shares.append(tenant.share)
    assert shares == sorted(shares, reverse=True)
    assert 0.3 < shares[0] < 0.7
    assert shares[-1] == LATER_SHARE


def test_wrong_hits_that_were_found_end_the_service_until_more_are_allowed() -> None:
    """However right all the others are: the share of all requests is what is promised."""
    tenant = controller()
    tenant.saw_none(600)
    for number in range(4):
        tenant.judged(
            f"entry-{number}", score=0.75, is_right=False, was_served=True, weight=1 / tenant.share
        )
    misses(tenant, 0.99, count=300)
    assert tenant.threshold == NOTHING
    tenant.saw_none(4_000)
    assert tenant.threshold < NOTHING


def test_who_was_asked_less_is_served_only_when_that_is_enough() -> None:
    """A record of a time in which fewer hits were asked again says so by its weight."""
    tenant = controller()
    tenant.saw_none(600)
    assert tenant.threshold < NOTHING
    tenant.judged("entry", score=0.99, is_right=True, was_served=True, weight=10.0)
    assert tenant.share == LATER_SHARE
    assert tenant.threshold == NOTHING
    tenant.saw_none(3_000)
    assert tenant.threshold < NOTHING


@pytest.mark.parametrize("share", [0.1, 0.4, 1.0])
def test_more_than_is_allowed_is_hardly_ever_thought_to_be_less(share: float) -> None:
    """Fewer than one series of wrong answers in twenty passes the bound while it is held."""
    noise = random.Random(7)
    passed = 0
    for _ in range(400):
        found, allowed = 0, 30
        for _ in range(allowed):
            found += noise.random() < share
        passed += holds(found, share=share, allowed=allowed)
    assert passed <= DOUBT * 400


def test_whoever_is_always_asked_again_knows_all() -> None:
    """Where every hit is asked again, what is found is what was served."""
    assert holds(0, share=1.0, allowed=5.0)
    assert not holds(5, share=1.0, allowed=5.0)
    assert not holds(0, share=0.1, allowed=20.0), "as many go unnoticed one time in eight"
    assert holds(0, share=0.1, allowed=50.0)


@given(st.integers(0, 50), st.floats(0.1, 0.99), st.floats(0, 500))
def test_more_found_or_less_asked_is_never_more_certain(
    found: int, share: float, allowed: float
) -> None:
    """Nor is less allowed."""
    if holds(found + 1, share=share, allowed=allowed):
        assert holds(found, share=share, allowed=allowed)
    if holds(found, share=share, allowed=allowed):
        assert holds(found, share=min(1.0, share + 0.01), allowed=allowed)
        assert holds(found, share=share, allowed=allowed + 1)


def test_hits_that_become_wrong_pass_no_bound() -> None:
    """Where every hit is wrong from some time on, twenty tenants in twenty stay below it."""
    over = 0
    for seed in range(20):
        noise, tenant, wrong = random.Random(seed), controller(0.01), 0
        for number in range(1, 3_001):
            if number % 3 or not tenant.serves(str(number), 0.9):
                is_right = number < 1_500 or bool(number % 3)
                tenant.judged(str(number), score=0.9, is_right=is_right, was_served=False, weight=1)
                continue
            is_right = number < 1_500
            wrong += not is_right
            over += wrong > 0.01 * number
            if noise.random() < tenant.share:
                tenant.judged(
                    str(number), score=0.9, is_right=is_right, was_served=True,
                    weight=1 / tenant.share,
                )  # fmt: skip
    assert over == 0


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
