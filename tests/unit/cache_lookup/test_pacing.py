"""Less urgent lanes wait while the shared topics are long."""

import asyncio

import pytest

from services.cache_lookup.decide import HOLD_BACKGROUND, HOLD_NEAR_REAL_TIME, held_lanes
from services.cache_lookup.pacing import Pacing
from services.shared.domain.errors import Unavailable

NONE: frozenset[int] = frozenset()


@pytest.mark.parametrize(
    ("backlog", "held", "expected"),
    [
        pytest.param(0, NONE, NONE, id="quiet"),
        pytest.param(HOLD_BACKGROUND, NONE, NONE, id="at_the_limit"),
        pytest.param(HOLD_BACKGROUND + 1, NONE, {2}, id="background_waits_first"),
        pytest.param(HOLD_NEAR_REAL_TIME + 1, NONE, {1, 2}, id="then_near_real_time"),
        pytest.param(HOLD_BACKGROUND // 2 + 1, frozenset({2}), {2}, id="waits_until_half"),
        pytest.param(HOLD_BACKGROUND // 2, frozenset({2}), NONE, id="goes_on_at_half"),
        pytest.param(10**9, NONE, {1, 2}, id="lane_0_never_waits"),
    ],
)
def test_lanes_wait_by_urgency(backlog: int, held: frozenset[int], expected: set[int]) -> None:
    """The longer the backlog, the more lanes wait, and none flutters at its limit."""
    assert held_lanes(backlog, held=held) == expected


class _Backlog:
    """Says what it is told to say, then ends the test."""

    def __init__(self, *answers: int | Unavailable) -> None:
        self._answers = list(answers)
        self.asked = 0
        self.over = asyncio.Event()

    async def records(self) -> int:
        self.asked += 1
        answer = self._answers.pop(0)
        if not self._answers:
            self.over.set()
        if isinstance(answer, Unavailable):
            raise answer
        return answer


async def _paced(backlog: _Backlog, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, bool]]:
    monkeypatch.setattr("services.cache_lookup.pacing.LOOK_EVERY_S", 0)
    told: list[tuple[int, bool]] = []
    pacing = Pacing(backlog, hold_lane=lambda lane, is_held: told.append((lane, is_held)))
    pacing.saw(2)
    running = asyncio.create_task(pacing.run())
    await backlog.over.wait()
    await asyncio.sleep(0)
    running.cancel()
    return told


async def test_a_lane_is_told_once_to_wait_and_once_to_go_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The lane waits from the first long backlog to the first short one."""
    told = await _paced(_Backlog(600, 600, 0), monkeypatch)
    assert told == [(2, True), (2, False)]


async def test_nothing_changes_while_the_backlog_cannot_be_seen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An unreachable log neither releases what waits nor stops what runs."""
    told = await _paced(_Backlog(600, Unavailable("kafka", "away"), 600), monkeypatch)
    assert told == [(2, True)]


async def test_urgent_traffic_alone_is_never_looked_at() -> None:
    """Without anything to hold, the cluster is not asked."""
    backlog = _Backlog(0)
    pacing = Pacing(backlog, hold_lane=lambda _lane, _is_held: None)
    running = asyncio.create_task(pacing.run())
    pacing.saw(0)
    await asyncio.sleep(0)
    running.cancel()
    assert backlog.asked == 0
