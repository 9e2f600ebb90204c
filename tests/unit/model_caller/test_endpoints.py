"""The choice among a provider's endpoints."""

from services.model_caller.endpoints import LEAVE_MS, Endpoints


def test_the_one_with_the_fewest_tokens_under_way_is_chosen() -> None:
    """One long prompt weighs as much as many short ones; ties go to the fewest calls so far."""
    endpoints = Endpoints(3)
    assert [endpoints.begin(tokens, now_ms=0) for tokens in (900, 100, 300, 100, 50)] == [
        0,
        1,
        2,
        1,
        1,
    ]
    endpoints.end(0, 900)
    assert endpoints.begin(10, now_ms=0) == 0


def test_idle_endpoints_take_turns() -> None:
    """With nothing under way, the fewest calls decide."""
    endpoints = Endpoints(2)
    chosen = []
    for _ in range(4):
        chosen.append(endpoints.begin(5, now_ms=0))
        endpoints.end(chosen[-1], 5)
    assert chosen == [0, 1, 0, 1]


def test_one_that_cannot_be_reached_is_left_for_a_while() -> None:
    """Unless all are; then they are all tried."""
    endpoints = Endpoints(2)
    endpoints.leave(0, now_ms=0)
    assert endpoints.others_work(0, now_ms=1)
    assert [endpoints.begin(5, now_ms=1) for _ in range(2)] == [1, 1]
    endpoints.leave(1, now_ms=2)
    assert not endpoints.others_work(0, now_ms=3)
    assert endpoints.begin(5, now_ms=3) == 0
    assert endpoints.begin(5, now_ms=LEAVE_MS) == 0


def test_a_single_endpoint_is_always_the_one() -> None:
    """And nothing is counted for it."""
    endpoints = Endpoints(1)
    endpoints.leave(endpoints.begin(5, now_ms=0), now_ms=0)
    endpoints.end(0, 5)
    assert endpoints.begin(5, now_ms=1) == 0
    assert not endpoints.others_work(0, now_ms=1)
