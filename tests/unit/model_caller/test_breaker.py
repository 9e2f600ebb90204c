"""The circuit breaker: when it opens, whom it lets through, what others learn of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.model_caller.breaker import (
    CONSECUTIVE,
    MAX_PAUSE_MS,
    MEMORY_MS,
    PAUSE_MS,
    PERSISTENT,
    PROBE_MS,
    PROBES,
    WINDOW,
    Admission,
    Breaker,
    Verdict,
    verdict_of,
)
from services.model_caller.decide import failure, failure_from_status
from services.shared.domain.events import CircuitState, ProviderHealth, Target

NOW_MS = 1_780_000_000_000.0
TARGET = Target(provider="p", model="m")
G, B, T, U = Verdict.GOOD, Verdict.BAD, Verdict.THROTTLED, Verdict.UNSAID


def after(*verdicts: Verdict, breaker: Breaker | None = None, now_ms: float = NOW_MS) -> Breaker:
    """A circuit after these results, all at one moment and without jitter."""
    breaker = breaker or Breaker()
    for verdict in verdicts:
        breaker = breaker.heard(verdict, is_probe=False, now_ms=now_ms, jitter=0, reason="why")
    return breaker


def opened(*, now_ms: float = NOW_MS) -> Breaker:
    """A circuit that has just opened."""
    return after(*[B] * CONSECUTIVE, now_ms=now_ms)


def status(number: int, code: str = "") -> object:
    """A failure with this status."""
    return failure_from_status(number, message="m", code=code, param="", pause_ms=0)


@pytest.mark.parametrize(
    ("result", "verdict"),
    [
        (["an answer"], G),
        (status(500), B),
        (status(502), B),
        (status(503), B),
        (status(529), B),
        (status(408), B),
        (status(429), T),
        (status(429, "insufficient_quota"), B),
        (status(400), G),
        (status(422), G),
        (status(400, "content_filter"), G),
        (status(400, "context_length_exceeded"), G),
        (status(401), U),
        (status(404), U),
        (status(307), B),
        (failure("provider_timeout", ""), B),
        (failure("provider_unreachable", ""), B),
        (failure("provider_malformed", ""), B),
        (failure("stream_interrupted", "", has_output=True), B),
        (failure("deadline_exceeded", ""), U),
    ],
)
def test_only_what_speaks_against_the_provider_counts(result: object, verdict: Verdict) -> None:
    """Failures of the provider are bad, refusals of a request are good, the rest says nothing."""
    assert verdict_of(result) is verdict


@pytest.mark.parametrize(
    ("verdicts", "state"),
    [
        ([B] * (CONSECUTIVE - 1), CircuitState.CLOSED),
        ([B] * CONSECUTIVE, CircuitState.OPEN),
        ([*[B] * (CONSECUTIVE - 1), G, B], CircuitState.CLOSED),
        ([B, G] * 4, CircuitState.CLOSED),
        ([G, B] * 5, CircuitState.OPEN),
        ([*[G] * WINDOW, *[B, G, G] * 9], CircuitState.CLOSED),
        ([*[G] * WINDOW, *[B, B, G] * 7], CircuitState.OPEN),
        ([U] * 50, CircuitState.CLOSED),
        ([T] * (PERSISTENT + CONSECUTIVE - 2), CircuitState.CLOSED),
        ([T] * (PERSISTENT + CONSECUTIVE - 1), CircuitState.OPEN),
        ([*[T] * (PERSISTENT - 1), G, *[T] * (PERSISTENT - 1)], CircuitState.CLOSED),
    ],
)
def test_it_opens_by_failures_in_a_row_or_by_their_share(
    verdicts: list[Verdict], state: CircuitState
) -> None:
    """Five in a row, or half of ten to twenty; refusals for the rate only when they persist."""
    assert after(*verdicts).state is state


def test_old_results_say_nothing() -> None:
    """After a silence the count begins anew."""
    tired = after(*[B] * (CONSECUTIVE - 1))
    assert after(B, breaker=tired, now_ms=NOW_MS + MEMORY_MS + 1).state is CircuitState.CLOSED
    assert after(B, breaker=tired, now_ms=NOW_MS + MEMORY_MS).state is CircuitState.OPEN


def test_an_open_circuit_refuses_until_its_pause_is_over() -> None:
    """Then a bounded number of probes is let through at once."""
    breaker = opened()
    same, admission = breaker.admitted(now_ms=NOW_MS + PAUSE_MS - 1)
    assert (same, admission) == (breaker, Admission.REFUSED)
    assert breaker.wait_ms(now_ms=NOW_MS + PAUSE_MS - 1) == 1
    admissions = []
    for _ in range(PROBES + 2):
        breaker, admission = breaker.admitted(now_ms=NOW_MS + PAUSE_MS)
        admissions.append(admission)
    assert admissions == [Admission.PROBE] * PROBES + [Admission.REFUSED] * 2
    assert breaker.state is CircuitState.HALF_OPEN
    assert breaker.wait_ms(now_ms=NOW_MS + PAUSE_MS) == PROBE_MS


def probing(breaker: Breaker) -> Breaker:
    """The circuit with one probe under way."""
    breaker, admission = breaker.admitted(now_ms=breaker.until_ms)
    assert admission is Admission.PROBE
    return breaker


def test_a_good_probe_closes() -> None:
    """Everything is let through again, and the past is forgotten."""
    half_open = probing(opened())
    closed = half_open.heard(G, is_probe=True, now_ms=half_open.until_ms, jitter=0)
    assert closed.state is CircuitState.CLOSED
    assert closed.admitted(now_ms=NOW_MS)[1] is Admission.CALL
    assert closed.wait_ms(now_ms=NOW_MS) == 0
    assert after(*[B] * (CONSECUTIVE - 1), breaker=closed).state is CircuitState.CLOSED


def test_bad_probes_make_the_pauses_longer_up_to_a_limit() -> None:
    """Each is twice as long, with a jitter of a quarter at most."""
    breaker, pauses = opened(), []
    for _ in range(7):
        now_ms = breaker.until_ms
        breaker = probing(breaker).heard(B, is_probe=True, now_ms=now_ms, jitter=0.5)
        pauses.append(round(breaker.until_ms - now_ms))
    assert pauses[:3] == [round(PAUSE_MS * n * 1.125) for n in (2, 4, 8)]
    assert pauses[-1] == MAX_PAUSE_MS * 1.125


def test_a_probe_that_is_refused_for_the_rate_is_bad() -> None:
    """Else a provider that refuses everything would be probed without a pause."""
    half_open = probing(opened())
    again = half_open.heard(T, is_probe=True, now_ms=NOW_MS + PAUSE_MS, jitter=0)
    assert again.wait_ms(now_ms=NOW_MS + PAUSE_MS) == 2 * PAUSE_MS


def test_a_probe_that_says_nothing_makes_room_for_another() -> None:
    """The circuit stays half open."""
    half_open = probing(opened())
    now_ms = NOW_MS + PAUSE_MS
    after_it = half_open.heard(U, is_probe=True, now_ms=now_ms, jitter=0)
    assert (after_it.state, after_it.probes) == (CircuitState.HALF_OPEN, 0)


def test_calls_from_before_decide_nothing() -> None:
    """Late results of calls that are no probes change neither an open nor a half-open circuit."""
    breaker = opened()
    assert after(G, B, breaker=breaker) == breaker
    half_open = probing(breaker)
    assert after(G, B, breaker=half_open) == half_open


def health(state: CircuitState, *, at: float, until: float = 0) -> ProviderHealth:
    """What another process published."""
    return ProviderHealth(
        provider="p", model="m", state=state.value, at=int(at), until=int(until), owner="other"
    )


def test_what_another_process_saw_is_adopted() -> None:
    """Open is open here too, its probe is a pause here, closed closes."""
    later = NOW_MS + 8_000
    breaker = Breaker().adopted(health(CircuitState.OPEN, at=NOW_MS, until=later))
    assert (breaker.state, breaker.until_ms, breaker.pause_ms) == (CircuitState.OPEN, later, 8_000)
    breaker = breaker.adopted(health(CircuitState.HALF_OPEN, at=later, until=later + PROBE_MS))
    assert breaker.wait_ms(now_ms=later) == PROBE_MS
    assert breaker.pause_ms == 8_000
    breaker = breaker.adopted(health(CircuitState.CLOSED, at=later + 1))
    assert breaker.state is CircuitState.CLOSED


def test_older_news_and_ones_own_change_nothing() -> None:
    """So the order in which processes read the topic does not matter."""
    breaker = opened()
    assert breaker.adopted(breaker.published(TARGET, owner="me")) == breaker
    assert breaker.adopted(health(CircuitState.CLOSED, at=NOW_MS - 5)) == breaker


def test_what_is_published_is_adopted_alike() -> None:
    """A process that starts later knows what the first one does."""
    breaker = opened()
    record = breaker.published(TARGET, owner="me")
    assert (record.provider, record.model, record.state) == ("p", "m", "open")
    assert (record.failures, record.reason, record.owner) == (CONSECUTIVE, "why", "me")
    copy = Breaker().adopted(record)
    assert (copy.state, copy.until_ms, copy.failures) == (breaker.state, breaker.until_ms, 5)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(list(Verdict)),
        st.floats(min_value=0, max_value=20_000),
        st.booleans(),
        st.floats(min_value=0, max_value=0.999),
    ),
    max_size=60,
)


@given(STEPS)
def test_it_is_never_shut_for_good(steps: list[tuple[Verdict, float, bool, float]]) -> None:
    """Whatever happens, a call or a probe is let through within the longest pause."""
    breaker, now_ms, probes = Breaker(), NOW_MS, 0
    for verdict, wait_ms, ends, jitter in steps:
        now_ms += wait_ms
        changed_at_ms = breaker.changed_at_ms
        breaker, admission = breaker.admitted(now_ms=now_ms)
        if admission is Admission.PROBE:
            probes += 1
        if ends and admission is not Admission.REFUSED:
            is_probe = admission is Admission.PROBE
            probes -= is_probe
            breaker = breaker.heard(verdict, is_probe=is_probe, now_ms=now_ms, jitter=jitter)
        assert breaker.changed_at_ms >= changed_at_ms
        assert 0 <= breaker.probes <= PROBES
    if breaker.probes < PROBES:
        _, admission = breaker.admitted(now_ms=now_ms + MAX_PAUSE_MS * 1.25)
        assert admission is not Admission.REFUSED
