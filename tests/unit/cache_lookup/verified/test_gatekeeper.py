"""The fold over all tenants' judgements, and which hits are asked again."""

from typing import Any

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from services.cache_lookup.verified import gatekeeper
from services.cache_lookup.verified.bound import Tally, most_wrong_of
from services.cache_lookup.verified.controller import THRESHOLDS
from services.cache_lookup.verified.gatekeeper import BURST, Controllers
from services.cache_lookup.verified.metrics import MOST_LABELS, VerifiedMetrics
from services.cache_lookup.verified.reask import SUFFIX, Reasks, draw_of, shadow_of
from services.shared.domain.configuration import Configuration, Model, ModelTarget
from services.shared.domain.configuration_semantic import SemanticMode
from services.shared.domain.events import (
    CacheEvidence,
    CacheMissed,
    CandidateJudged,
    InferenceRequested,
    SemanticKey,
)
from services.shared.domain.semantic_modes import SemanticModes
from services.shared.domain.topics import Topic
from tests.support.example_events import requested

HIT = CacheEvidence(
    outcome="semantic_hit",
    age_s=9,
    source_request_id="entry-1",
    score=0.97,
    candidate_id="entry-1",
    candidate_fingerprint="f1" * 32,
    semantic=SemanticKey(scope="scope-a", encoder="fake-1", text="how deep?", vector=b""),
)


def judged(number: int = 1, **changes: Any) -> CandidateJudged:
    """A miss whose candidate was right, of tenant ``acme``."""
    record = CandidateJudged(
        request_id=f"request-{number:08d}",
        tenant="acme",
        entry_id="entry-1",
        scope="scope-a",
        score=0.95,
        is_right=True,
        was_served=False,
        weight=1.0,
        at=1,
    )
    return msgspec.structs.replace(record, **changes)


def confident(**changes: Any) -> Controllers:
    """Controllers that have read enough of one tenant to serve everything."""
    controllers = Controllers(most_wrong=0.02)
    controllers.apply(judged(without_candidate=500, **changes))
    controllers.caught_up()
    return controllers


def verified(mode: SemanticMode = SemanticMode.VERIFIED) -> SemanticModes:
    """One alias in a mode."""
    target = ModelTarget(provider="first", model="m")
    return SemanticModes(Configuration(models={"small": Model(targets=(target,), semantic=mode)}))


def test_nothing_is_served_before_the_topic_was_read() -> None:
    """The first half of the evidence may say what the second takes back."""
    controllers = Controllers(most_wrong=0.02)
    controllers.apply(judged(without_candidate=500))
    assert not controllers.serves("acme", "entry-1", 0.9)
    controllers.caught_up()
    assert controllers.serves("acme", "entry-1", 0.9)


def test_tenants_are_apart() -> None:
    """Nobody's answers are served on the evidence of another."""
    controllers = confident()
    assert not controllers.serves("another", "entry-1", 0.99)
    assert controllers.asks_again("another", 0.0) is None


def test_a_judgement_counts_once() -> None:
    """What a writer repeats after a crash changes nothing."""
    controllers = confident()
    for _ in range(50):
        controllers.apply(judged(2, is_right=False, was_served=True, score=0.99))
    ((_, controller),) = controllers.tenants()
    assert controller.asked_again == 1
    assert controller.threshold < 1


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond so many tenants the one that was heard of longest ago begins anew."""
    monkeypatch.setattr(gatekeeper, "MOST_TENANTS", 2)
    monkeypatch.setattr(gatekeeper, "REMEMBERED_IDS", 2)
    controllers = confident()
    controllers.apply(judged(2, tenant="second"))
    controllers.apply(judged(3))
    controllers.apply(judged(4, tenant="third"))
    assert [name for name, _ in controllers.tenants()] == ["third", "acme"]
    controllers.apply(judged(2))
    assert dict(controllers.tenants())["acme"].requests == 503


def test_hits_are_drawn_and_weigh_what_they_stand_for() -> None:
    """At the share of the tenant's controller, each for as many as it was drawn from."""
    controllers = confident()
    share = share_of(controllers)
    assert controllers.asks_again("acme", share - 0.01) == pytest.approx(1 / share)
    assert controllers.asks_again("acme", share + 0.01) is None


def test_extra_calls_are_bounded_without_a_lie_about_weights() -> None:
    """Who finds the budget spent is not served, unless he is asked again as seldom as anybody."""
    controllers = confident()
    controllers.apply(judged(2, tenant="old", without_candidate=5_000))
    share = share_of(controllers)
    weights = {controllers.asks_again("acme", 0.0) for _ in range(int(BURST))}
    assert weights == {1 / share}
    assert not controllers.serves("acme", "entry-1", 0.9)
    assert controllers.serves("old", "entry-1", 0.9)
    assert controllers.asks_again("old", 0.0) == 10.0
    for _ in range(20):
        controllers.serves("old", "entry-1", 0.9)
    assert controllers.serves("acme", "entry-1", 0.9)


def share_of(controllers: Controllers) -> float:
    """Share of hits of ``acme`` that are asked again."""
    controller = controllers.of("acme")
    assert controller is not None
    return controller.share


def test_a_shadow_asks_the_same_of_nobody() -> None:
    """Same tenant, key, model and body; nobody waits, joins or keeps it."""
    (emit,) = Reasks(confident(), verified()).emits(drawn(), HIT, now_ms=5_000.0)
    assert emit.topic == Topic.CACHE_MISSES
    missed = emit.event
    assert isinstance(missed, CacheMissed)
    shadow, original = missed.request, drawn()
    assert emit.key == shadow.request_id == original.request_id + SUFFIX
    kept = ("tenant", "key_id", "model", "body", "operation", "user", "tier")
    assert all(getattr(shadow, it) == getattr(original, it) for it in kept)
    assert (shadow.fingerprint, shadow.reply_partition, shadow.priority) == ("", -1, 2)
    assert (shadow.feature, shadow.stream, shadow.traceparent) == ("cache-shadow", False, "")
    assert shadow.cache_policy.no_store
    assert shadow.deadline_at > 5_000
    assert shadow.accepted_at == original.accepted_at, "so also when it is delivered again"
    cache = missed.cache
    assert (cache.outcome, cache.shadow_of) == ("bypass", original.request_id)
    assert cache.shadow_weight == pytest.approx(1 / share_of(confident()))
    assert (cache.candidate_id, cache.score) == ("entry-1", 0.97)


@pytest.mark.parametrize(
    ("changes", "evidence", "mode"),
    [
        pytest.param({}, {"outcome": "exact_hit"}, SemanticMode.VERIFIED, id="exact_hit"),
        pytest.param({}, {}, SemanticMode.GUARDED, id="alias_in_another_mode"),
        pytest.param({"request_id": "x" * 60}, {}, SemanticMode.VERIFIED, id="id_too_long"),
        pytest.param({"tenant": "new"}, {}, SemanticMode.VERIFIED, id="tenant_without_evidence"),
    ],
)
def test_what_is_not_asked_again(
    changes: dict[str, Any], evidence: dict[str, Any], mode: SemanticMode
) -> None:
    """Only drawn semantic hits of aliases in the verified mode."""
    request = msgspec.structs.replace(drawn(), **changes)
    told = msgspec.structs.replace(HIT, **evidence)
    assert not list(Reasks(confident(), verified(mode)).emits(request, told, now_ms=5_000.0))


def test_draws_repeat_and_spread() -> None:
    """A redelivered request is drawn alike; of many about the right share is drawn."""
    draws = [draw_of(f"request-{number:08d}") for number in range(2_000)]
    assert draws == [draw_of(f"request-{number:08d}") for number in range(2_000)]
    assert 0.07 < sum(draw < 0.1 for draw in draws) / len(draws) < 0.13


def test_the_upper_bound_comes_down_with_evidence_and_up_with_errors() -> None:
    """It is told for the threshold of now, and is not above the bound asked for."""
    controllers = confident()
    ((_, controller),) = controllers.tenants()
    first = controller.upper_bound
    assert 0 < first <= 0.02
    controllers.apply(judged(2, without_candidate=2_000))
    assert controller.upper_bound < first / 2
    second = controller.upper_bound
    controllers.apply(judged(3, is_right=False, was_served=True, weight=2.0, score=0.99))
    assert controller.upper_bound > second
    assert Controllers(most_wrong=0.02).serves("acme", "entry-1", 1.0) is False


def test_wrong_ones_count_from_the_threshold_that_they_reach() -> None:
    """Below a threshold they are no errors of it."""
    tally = Tally(THRESHOLDS)
    tally.add(weight=1.0, heaviest=1.0, wrong_at=0.805)
    tally.add(weight=10.0, heaviest=10.0, wrong_at=0.905)
    assert [tally.wrong(THRESHOLDS.index(it)) for it in (0.7, 0.8, 0.81, 0.9, 0.91)] == [
        11, 11, 10, 10, 0,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("wrong", "asked", "bound"),
    [(0, 300, 0.00994), (56, 5_653, 0.01238), (5, 5, 1.0), (0, 0, 1.0)],
)
def test_the_exact_bound_of_a_share(wrong: int, asked: int, bound: float) -> None:
    """Clopper and Pearson's, one-sided."""
    assert most_wrong_of(wrong, asked) == pytest.approx(bound, rel=2e-3)


def test_figures_are_told_of_a_bounded_number_of_tenants() -> None:
    """Those that were heard of last."""
    registry = CollectorRegistry()
    controllers = Controllers(most_wrong=0.02)
    for number in range(MOST_LABELS + 1):
        controllers.apply(judged(number, tenant=f"tenant-{number}", without_candidate=500))
    controllers.apply(judged(999, tenant="tenant-1", is_right=False, was_served=True))
    VerifiedMetrics(registry, controllers)
    name = "millrace_cache_verified_found_wrong"
    assert registry.get_sample_value(name, {"tenant": "tenant-1"}) == 1
    assert registry.get_sample_value(name, {"tenant": "tenant-0"}) is None
    threshold = "millrace_cache_verified_threshold"
    assert registry.get_sample_value(threshold, {"tenant": "tenant-2"}) == THRESHOLDS[0]


def drawn() -> InferenceRequested:
    """A request that is asked again at any share."""
    number = next(it for it in range(100) if draw_of(requested(it).request_id) < 0.1)
    return requested(number, stream=True, include_usage=True, reply_partition=3, feature="chat")


def test_a_shadow_says_when_it_is_worthless() -> None:
    """However short its original's time was."""
    shadow = shadow_of(requested(deadline_at=1), now_ms=10.0)
    assert shadow.deadline_at == 300_010
