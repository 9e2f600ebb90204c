"""Which request leads and which one joins it."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.cache_lookup.flights import GRACE_MS, MARGIN_MS, Flights, Joiner, in_order
from services.shared.domain.events import CachePolicy, InferenceRequested
from tests.support.example_events import request_id, requested
from tests.support.fake_clock import START_MS

NOW_MS = START_MS + 40
SAME = "5" * 64


def same(number: int, **changes: Any) -> InferenceRequested:
    """One of several identical requests, whose client waits."""
    return requested(number, **{"fingerprint": SAME, "reply_partition": 3, **changes})


def joiner(request: InferenceRequested, *, size_bytes: int = 10) -> Joiner[str]:
    """Somebody who waits."""
    return Joiner(request, "record", size_bytes=size_bytes)


def led(leader: InferenceRequested, *, bypasses: bool = False) -> Flights[str]:
    """Flights with one."""
    flights: Flights[str] = Flights()
    flights.lead(leader, bypasses=bypasses, now_ms=NOW_MS)
    return flights


def found(
    flights: Flights[str],
    request: InferenceRequested,
    *,
    bypasses: bool = False,
    is_retry: bool = False,
    now_ms: float = NOW_MS,
) -> str | None:
    """The leader that a request would join."""
    flight = flights.find(request, bypasses=bypasses, is_retry=is_retry, now_ms=now_ms)
    return None if flight is None else flight.leader_id


@pytest.mark.parametrize(
    ("leader", "request_", "joins"),
    [
        pytest.param({}, {}, True, id="identical"),
        pytest.param({}, {"stream": True}, True, id="streamed_or_not"),
        pytest.param({}, {"key_id": "key-2", "user": "u", "feature": "f"}, True, id="another_key"),
        pytest.param({}, {"cache_policy": CachePolicy(max_age_s=1)}, True, id="how_fresh"),
        pytest.param({}, {"fingerprint": "6" * 64}, False, id="another_request"),
        pytest.param({}, {"tenant": "other"}, False, id="another_tenant"),
        pytest.param({"fingerprint": ""}, {"fingerprint": ""}, False, id="no_fingerprint"),
        pytest.param({"priority": 1}, {"priority": 0}, False, id="leader_in_a_slower_lane"),
        pytest.param({"priority": 1}, {"priority": 1}, True, id="same_lane"),
        pytest.param({"priority": 1}, {"priority": 2}, True, id="leader_in_a_faster_lane"),
        pytest.param({"deadline_at": int(NOW_MS)}, {}, False, id="leader_past_its_deadline"),
        pytest.param({"deadline_at": 0}, {}, True, id="leader_without_a_deadline"),
        pytest.param({"deadline_at": int(NOW_MS) + 1}, {}, True, id="leader_due_soon"),
    ],
)
def test_who_joins(leader: dict[str, Any], request_: dict[str, Any], *, joins: bool) -> None:
    """The same question of the same tenant, if its leader is not held back."""
    flights = led(same(1, **leader))
    assert found(flights, same(2, **request_)) == (request_id(1) if joins else None)


@pytest.mark.parametrize(
    ("leads", "asks", "joins"),
    [
        ("capped", "", False),
        ("", "capped", False),
        ("capped", "capped-too", False),
        ("capped", "capped", True),
        ("free", "", True),
        ("free", "other", True),
    ],
)
def test_an_answer_under_a_cap_is_for_its_feature(leads: str, asks: str, *, joins: bool) -> None:
    """Who asks without a feature's cap is not given an answer that was cut off at it."""
    flights: Flights[str] = Flights(capped_features={"capped", "capped-too"})
    flights.lead(same(1, feature=leads), bypasses=False, now_ms=NOW_MS)
    assert found(flights, same(2, feature=asks)) == (request_id(1) if joins else None)


@pytest.mark.parametrize(
    ("leads_past", "asks_past", "is_retry", "key_id", "joins"),
    [
        pytest.param(True, True, True, "key-1", True, id="repetition"),
        pytest.param(True, True, False, "key-1", False, id="another_one"),
        pytest.param(True, True, True, "key-2", False, id="repetition_of_another_key"),
        pytest.param(False, True, True, "key-1", False, id="leader_was_looked_up"),
        pytest.param(True, False, False, "key-1", False, id="looked_up_itself"),
        pytest.param(False, False, True, "key-2", True, id="repetition_of_what_is_looked_up"),
    ],
)
def test_who_joins_past_the_cache(
    *, leads_past: bool, asks_past: bool, is_retry: bool, key_id: str, joins: bool
) -> None:
    """Only the repetition of a request of the same key."""
    flights = led(same(1), bypasses=leads_past)
    leader = found(flights, same(2, key_id=key_id), bypasses=asks_past, is_retry=is_retry)
    assert leader == (request_id(1) if joins else None)


def test_repetitions_are_spread() -> None:
    """Two samples, both asked for again, are still two."""
    flights = led(same(1), bypasses=True)
    flights.lead(same(2), bypasses=True, now_ms=NOW_MS)
    leaders = []
    for number in (3, 4, 5):
        flight = flights.find(same(number), bypasses=True, is_retry=True, now_ms=NOW_MS)
        assert flight is not None
        leaders.append(flight.leader_id)
        flights.join(flight, joiner(same(number)))
    assert leaders == [request_id(1), request_id(2), request_id(1)]


def test_a_known_request_joins_nobody() -> None:
    """Neither a leader itself, nor another record of who waits already."""
    flights = led(same(1))
    flights.join(flights.leaders[request_id(1).encode()], joiner(same(2)))
    assert found(flights, same(1)) is None
    assert found(flights, same(2)) is None
    flights.lead(same(1), bypasses=False, now_ms=NOW_MS)
    assert len(flights.leaders) == 1


@pytest.mark.parametrize(
    ("limits", "waiting"), [({"most_joiners": 2}, 2), ({"most_bytes": 25}, 3), ({}, 5)]
)
def test_not_all_may_wait(limits: dict[str, Any], waiting: int) -> None:
    """Beyond a number, or their bytes, requests lead."""
    flights: Flights[str] = Flights(**limits)
    flights.lead(same(0), bypasses=False, now_ms=NOW_MS)
    for number in range(1, 6):
        flight = flights.find(same(number), bypasses=False, is_retry=False, now_ms=NOW_MS)
        if flight is not None:
            flights.join(flight, joiner(same(number)))
    assert len(flights.joined) == waiting
    assert flights.joined_bytes == 10 * waiting


@pytest.mark.parametrize(
    ("leader", "request_", "follows"),
    [
        pytest.param({"stream": True}, {"stream": True}, True, id="both_streamed"),
        pytest.param({"stream": True}, {}, False, id="whole_joins_stream"),
        pytest.param({}, {"stream": True}, False, id="stream_joins_whole"),
        pytest.param(
            {"stream": True}, {"stream": True, "include_usage": True}, False, id="other_usage"
        ),
        pytest.param(
            {"stream": True, "reply_partition": -1}, {"stream": True}, False, id="unseen_leader"
        ),
        pytest.param(
            {"stream": True}, {"stream": True, "reply_partition": -1}, False, id="unseen_joiner"
        ),
        pytest.param(
            {"stream": True, "operation": "embeddings"},
            {"stream": True, "operation": "embeddings"},
            False,
            id="embeddings",
        ),
    ],
)
def test_who_follows_tokens(
    leader: dict[str, Any], request_: dict[str, Any], *, follows: bool
) -> None:
    """A stream follows a stream of the same shape that is written for somebody."""
    flights = led(same(1, **leader))
    waiting = joiner(same(2, **request_))
    flights.join(flights.leaders[request_id(1).encode()], waiting)
    assert waiting.follows is follows


def test_a_landed_flight_is_kept_a_moment() -> None:
    """Its joiners leave in order; who comes within a second finds the answer."""
    flights = led(same(1))
    flight = flights.leaders[request_id(1).encode()]
    waiting = [joiner(same(number)) for number in (3, 2)]
    for one in waiting:
        flights.join(flight, one)
    assert flights.land(flight, value=b"end", now_ms=NOW_MS) == waiting
    assert (flights.joined, flights.joined_bytes) == ({}, 0)
    assert found(flights, same(4)) == request_id(1)
    assert flight.landed == b"end"
    assert flights.overdue(NOW_MS + GRACE_MS - 1) == []
    assert flights.overdue(NOW_MS + GRACE_MS) == [flight]
    assert flights.forget(flight) == []
    assert found(flights, same(4)) is None
    assert flights.forget(flight) == [], "once more does no harm"


def test_what_must_not_be_stored_is_not_kept() -> None:
    """Not even for a moment."""
    flights = led(same(1, cache_policy=CachePolicy(no_store=True)))
    flights.land(flights.leaders[request_id(1).encode()], value=b"end", now_ms=NOW_MS)
    assert flights.leaders == {}


@pytest.mark.parametrize(
    ("deadline_at", "forget_ms"),
    [
        pytest.param(int(NOW_MS) + 500, NOW_MS + 500 + MARGIN_MS, id="after_its_deadline"),
        pytest.param(0, NOW_MS + 600_000 + MARGIN_MS, id="without_one"),
    ],
)
def test_a_flight_is_given_up(deadline_at: int, forget_ms: float) -> None:
    """Not before its end may have come late."""
    flights = led(same(1, deadline_at=deadline_at))
    assert flights.overdue(forget_ms - 1) == []
    assert [it.leader_id for it in flights.overdue(forget_ms)] == [request_id(1)]


def test_who_waits_is_known() -> None:
    """In the order in which they came, until they leave."""
    flights = led(same(1))
    flight = flights.leaders[request_id(1).encode()]
    one, two = joiner(same(2)), joiner(same(3))
    assert flights.waiting() == []
    flights.join(flight, one)
    flights.join(flight, two)
    assert flights.waiting() == [one, two]
    flights.leave(request_id(2))
    assert flights.waiting() == [two]


def test_the_first_of_the_most_urgent_runs_first() -> None:
    """So that those who have time can join it."""
    waiting = [joiner(same(number, priority=p)) for number, p in ((1, 2), (2, 1), (3, 1), (4, 2))]
    order = [it.request.request_id for it in in_order(waiting)]
    assert order == [request_id(number) for number in (2, 3, 1, 4)]


_REQUESTS = st.builds(
    same,
    st.integers(0, 11),
    tenant=st.sampled_from(["acme", "other"]),
    fingerprint=st.sampled_from([SAME, "6" * 64, ""]),
    priority=st.integers(0, 2),
    stream=st.booleans(),
    deadline_at=st.sampled_from([0, int(NOW_MS) + 1_000, int(NOW_MS) + 100_000]),
)
_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("ask"), _REQUESTS, st.booleans(), st.booleans()),
        st.tuples(st.just("end"), st.integers(0, 11)),
        st.tuples(st.just("wait"), st.integers(1, 200_000)),
    ),
    max_size=40,
)


class Story:
    """What happens to flights, and who should be waiting."""

    def __init__(self) -> None:
        """Nothing has happened."""
        self.flights: Flights[str] = Flights(most_joiners=5)
        self.waiting: set[str] = set()
        self.now_ms = NOW_MS

    def ask(self, request: InferenceRequested, *, bypasses: bool, is_retry: bool) -> None:
        """Place a request."""
        flights = self.flights
        flight = flights.find(request, bypasses=bypasses, is_retry=is_retry, now_ms=self.now_ms)
        if flight is None:
            flights.lead(request, bypasses=bypasses, now_ms=self.now_ms)
        elif not flight.landed:
            assert flight.key[:3] == (request.tenant, request.fingerprint, bypasses)
            assert flight.priority <= request.priority
            flights.join(flight, joiner(request))
            self.waiting.add(request.request_id)

    def end(self, number: int) -> None:
        """End a leader."""
        flight = self.flights.leaders.get(request_id(number).encode())
        if flight is not None and not flight.landed:
            self._let_go(self.flights.land(flight, value=b"end", now_ms=self.now_ms))

    def wait(self, ms: int) -> None:
        """Let time pass."""
        self.now_ms += ms
        for flight in self.flights.overdue(self.now_ms):
            self._let_go(self.flights.forget(flight))

    def check(self) -> None:
        """The books agree."""
        flights = self.flights
        assert set(flights.joined) == self.waiting
        assert flights.joined_bytes == 10 * len(self.waiting)
        assert len(self.waiting) <= 5
        for flight in flights.leaders.values():
            assert flight in flights._by_key[flight.key]

    def _let_go(self, joiners: Sequence[Joiner[str]]) -> None:
        self.waiting -= {it.request.request_id for it in joiners}


@given(steps=_STEPS)
def test_nobody_is_left_hanging_and_nothing_is_left_behind(steps: list[tuple[Any, ...]]) -> None:
    """Whatever happens: who waits waits for one alike, and is let go when that ends or is late."""
    story = Story()
    for step in steps:
        match step:
            case ("ask", request, bypasses, is_retry):
                story.ask(request, bypasses=bypasses, is_retry=is_retry)
            case ("end", number):
                story.end(number)
            case _:
                story.wait(step[1])
        story.check()
    story.wait(10_000_000)
    assert (story.waiting, story.flights.joined) == (set(), {})
    assert (story.flights.leaders, story.flights._by_key) == ({}, {})
