"""What a router has seen, as a fold of records with times as arguments."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.shared.domain.complexity.cuts import Cuts, RecentScores
from services.shared.domain.events import (
    CircuitState,
    InferenceFinished,
    ModelCall,
    ProviderHealth,
    Route,
)
from services.shared.domain.money import Usage
from services.shared.domain.routing import observed as module
from services.shared.domain.routing.observed import (
    GIVEN_UP_MS,
    PROMPT_CACHE_IDLE_MS,
    RECUT_EVERY,
    TIMES_HALF_LIFE_MS,
    Conversation,
    DecayedMean,
    Observed,
)

T0 = 1_790_000_000_000


def finished(request_id: str = "req_1", *calls: ModelCall, **said: object) -> InferenceFinished:
    """The end of a request for the model ``m``."""
    values = {
        "request_id": request_id,
        "outcome": "completed",
        "model": "m",
        "accepted_at": T0,
        "finished_at": T0 + 1_000,
        "calls": calls,
    }
    return InferenceFinished(**{**values, **said})  # type: ignore[arg-type]  # the tests' names


def call(model: str = "a", **said: object) -> ModelCall:
    """A call to a model of provider ``p`` that took a second."""
    values = {
        "attempt": 1,
        "provider": "p",
        "model": model,
        "started_ms": 0.0,
        "first_chunk_ms": 300.0,
        "finished_ms": 1_000.0,
        "usage": Usage(input_tokens=1_500, output_tokens=100),
    }
    return ModelCall(**{**values, **said})  # type: ignore[arg-type]  # the tests' names


def test_a_mean_forgets_with_its_half_life() -> None:
    """A sample one half-life old counts half of a new one."""
    mean = DecayedMean(1_000)
    assert mean.samples(T0) == 0
    mean.add(10, T0)
    mean.add(40, T0 + 1_000)
    assert mean.mean == pytest.approx((10 * 0.5 + 40) / 1.5)
    assert mean.samples(T0 + 2_000) == pytest.approx(0.75)


def test_a_late_sample_does_not_turn_back_the_time() -> None:
    """It counts as one of now, and what is known ages from the newest on."""
    mean = DecayedMean(1_000)
    mean.add(10, T0)
    mean.add(20, T0 - 5_000)
    assert (mean.mean, mean.samples(T0)) == (15, 2)


def test_lengths_and_times_are_learnt_from_calls_that_gave_an_answer() -> None:
    """A failed call teaches nothing, and an alias has a mean of its own at each target."""
    observed = Observed()
    observed.take_result(
        finished("req_1", call("a", error_code="upstream_error"), call("b", attempt=2))
    )
    assert observed.output_tokens("m", "p/a") is None
    assert observed.output_tokens("m", "p/b") == 100
    assert observed.output_tokens("other", "p/b") is None
    assert observed.input_tokens("m") == 1_500
    assert observed.input_tokens("other") is None
    assert observed.times("p/a") is None


def test_streams_and_whole_answers_have_times_of_their_own() -> None:
    """A stream teaches the time to its first output, if it had one; the rest the whole time."""
    observed = Observed()
    observed.take_result(finished("req_1", call(first_chunk_ms=250.0), stream=True))
    observed.take_result(finished("req_2", call(first_chunk_ms=-1.0), stream=True))
    observed.take_result(finished("req_3", call(started_ms=200.0)))
    times = observed.times("p/a")
    assert times is not None
    assert (times.first_output.mean, times.whole.mean) == (250, 800)
    assert times.first_output.samples(T0 + 1_000 + TIMES_HALF_LIFE_MS) == pytest.approx(0.5)


def test_a_call_without_tokens_teaches_no_length() -> None:
    """Embeddings have no output, and an unknown usage is no zero."""
    observed = Observed()
    observed.take_result(finished("req_1", call(usage=Usage())))
    assert observed.output_tokens("m", "p/a") is None
    assert observed.input_tokens("m") is None


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("12345"), st.booleans())))
def test_tokens_under_way_are_those_of_requests_that_have_not_ended(
    steps: list[tuple[str, str, bool]],
) -> None:
    """Whatever comes in whatever order, even an end of what was never sent."""
    observed, under_way = Observed(), dict[str, str]()
    for target, request_id, ends in steps:
        if ends:
            observed.ended(request_id)
            under_way.pop(request_id, None)
        else:
            observed.sent(request_id, target, 7, T0)
            under_way[request_id] = target
    for target in "abc":
        expected = 7 * list(under_way.values()).count(target)
        assert observed.tokens_under_way(target) == expected


def test_a_request_whose_end_was_not_seen_is_given_up() -> None:
    """After ten minutes it is under way no longer."""
    observed = Observed()
    observed.sent("req_1", "p/a", 5, T0)
    observed.sent("req_2", "p/b", 5, T0 + GIVEN_UP_MS)
    assert observed.tokens_under_way("p/a") == 5
    observed.sent("req_3", "p/b", 5, T0 + GIVEN_UP_MS + 1)
    assert (observed.tokens_under_way("p/a"), observed.tokens_under_way("p/b")) == (0, 10)


def test_a_result_ends_what_is_under_way() -> None:
    """Also that of a request which got no answer."""
    observed = Observed()
    observed.sent("req_1", "p/a", 5, T0)
    observed.take_result(finished("req_1", outcome="failed"))
    assert observed.tokens_under_way("p/a") == 0


@pytest.mark.parametrize(
    ("state", "until", "is_open"),
    [
        (CircuitState.CLOSED, T0 + 1_000, False),
        (CircuitState.HALF_OPEN, T0 + 1_000, False),
        (CircuitState.OPEN, T0 + 1_000, True),
        (CircuitState.OPEN, T0, False),
    ],
)
def test_a_circuit_is_open_until_a_probe_is_due(
    state: CircuitState,
    until: int,
    is_open: bool,  # noqa: FBT001  # a parameter of the table
) -> None:
    """After that somebody has to try it."""
    observed = Observed()
    assert not observed.is_open("p/a", T0)
    health = ProviderHealth(provider="p", model="a", state=state.value, at=T0, until=until)
    observed.take_health(health)
    assert observed.is_open("p/a", T0) is is_open


def test_a_conversation_is_where_its_last_answer_came_from() -> None:
    """The tokens of question and answer are in that target's prompt cache, for five minutes."""
    observed = Observed()
    route = Route(alias="m", strategy="cheapest", reason="", config_version="", conversation="c")
    observed.take_result(finished("req_1", call("a"), call("b", attempt=2), route=route))
    held = Conversation(target="p/b", tokens=1_600, at_ms=T0 + 1_000)
    assert observed.conversation("c", T0 + 1_000 + PROMPT_CACHE_IDLE_MS) == held
    assert observed.conversation("c", T0 + 1_001 + PROMPT_CACHE_IDLE_MS) is None
    assert observed.conversation("d", T0) is None


def test_an_old_result_does_not_move_a_conversation() -> None:
    """What is read back after a restart, or comes late, gives way to what is newer."""
    observed = Observed()
    newer = Conversation(target="p/z", tokens=10, at_ms=T0 + 5_000)
    observed.hold("c", newer)
    observed.hold("c", Conversation(target="p/a", tokens=10, at_ms=T0))
    assert observed.conversation("c", T0 + 5_000) == newer


def test_a_failed_request_does_not_move_its_conversation() -> None:
    """No target holds a prompt that was never answered; one without conversation moves none."""
    observed = Observed()
    route = Route(alias="m", strategy="cheapest", reason="", config_version="", conversation="c")
    observed.take_result(finished("req_1", call(error_code="timeout"), route=route))
    observed.take_result(
        finished(
            "req_2", call(), route=Route(alias="m", strategy="x", reason="", config_version="")
        )
    )
    assert observed.conversation("c", T0 + 1_000) is None


def scored(score: float) -> InferenceFinished:
    """The end of a request that was scored."""
    route = Route(alias="m", strategy="complexity", reason="", config_version="", score=score)
    return finished("req_1", route=route)


def test_cuts_are_laid_anew_when_enough_scores_have_come() -> None:
    """They stay as they are meanwhile, so that not every request pays for them."""
    observed = Observed(lambda _alias: (0.1, 0.5, 0.9))
    laid: list[int] = []

    def lay(recent: RecentScores) -> Cuts:
        laid.append(recent.count)
        return Cuts(limits=(recent.cut_above(0.5),), shares=(0.5, 0.5), requests=recent.count)

    first = observed.cuts("m", lay)
    for _ in range(RECUT_EVERY - 1):
        observed.take_result(scored(0.99))
    assert observed.cuts("m", lay) is first
    observed.take_result(scored(0.0))
    assert observed.cuts("m", lay).requests == RECUT_EVERY
    assert laid == [0, RECUT_EVERY]


def test_scores_count_before_anybody_asks_for_cuts() -> None:
    """As after a restart, when results are read back."""
    observed = Observed()
    observed.take_result(scored(0.5))
    cuts = observed.cuts("m", lambda recent: Cuts(limits=(), shares=(), requests=recent.count))
    assert cuts.requests == 1


def test_all_that_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest goes first, with its tokens."""
    monkeypatch.setattr(module, "MAX_UNDER_WAY", 2)
    monkeypatch.setattr(module, "MAX_CONVERSATIONS", 2)
    monkeypatch.setattr(module, "MAX_TARGETS", 2)
    observed = Observed()
    for index in range(3):
        observed.sent(f"req_{index}", f"p/{index}", 5, T0)
        observed.hold(str(index), Conversation(target="p/a", tokens=1, at_ms=T0))
        observed.lead(str(index), "p/a")
    assert [observed.tokens_under_way(f"p/{index}") for index in range(3)] == [0, 5, 5]
    assert [observed.conversation(str(i), T0) is None for i in range(3)] == [True, False, False]
    assert [observed.leader(str(i)) for i in range(3)] == ["", "p/a", "p/a"]
