"""Whatever crashes when, the windows are those of one pass over the log."""

from collections.abc import Sequence
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.metrics_aggregator import counted_ids
from services.metrics_aggregator.decide import Policy
from services.shared.domain.events import InferenceFinished
from services.shared.ports.folding import Logged
from tests.support.folded_table import FOREVER_S, Published, Table, recompute, steps_of
from tests.support.slow_examples import slow_examples
from tests.support.terminals import T0_MS, answered, failed, hit

POLICY = Policy(grace_ms=20_000, max_series=3, max_tenants=2)
BLOCK_IDS = 3
Log = Sequence[Logged[InferenceFinished]]


@st.composite
def logs(draw: st.DrawFn) -> Log:
    """A partition's log: time goes on, with stragglers, wrong clocks and repeated terminals."""
    now_ms = T0_MS + draw(st.sampled_from((0, 43_100_000)))  # noon, or shortly before midnight
    log = []
    for offset in range(draw(st.integers(min_value=1, max_value=40))):
        now_ms += draw(st.sampled_from((0, 7, 900, 4_000, 15_000, 61_000, 3_700_000)))
        off_ms = draw(st.sampled_from((0, 0, 0, 0, 3, 9_000, 45_000, 86_500_000, -200, -900_000)))
        make = draw(st.sampled_from((answered, answered, hit, failed)))
        terminal = make(
            draw(st.integers(min_value=0, max_value=25)),
            at_ms=now_ms - off_ms,
            tenant=draw(st.sampled_from(("acme", "acme", "acme", "blue", "coral"))),
            feature=draw(st.sampled_from("abcde")),
        )
        log.append(Logged(terminal, offset, now_ms))
    return log


class Life(NamedTuple):
    """A round of a process's life.

    Attributes:
        records: How many it takes before it writes.
        seconds: How long after the round before.
        survives: Share of the round's steps that become durable before it is killed; None = all,
            and it goes on.
        rewound: How many records before its position the next process is given.
    """

    records: int
    seconds: float
    survives: float | None
    rewound: int


lives = st.lists(
    st.builds(
        Life,
        records=st.integers(min_value=1, max_value=8),
        seconds=st.sampled_from((0.1, 3.0, 70.0)),
        survives=st.none() | st.floats(min_value=0, max_value=1),
        rewound=st.integers(min_value=0, max_value=5),
    ),
    max_size=12,
)
CALM = Life(records=100, seconds=1.0, survives=None, rewound=0)


def count(log: Log, script: Sequence[Life]) -> Table:
    """Count a log in processes that live and die as the script says, the last one to the end."""
    table = Table(policy=POLICY)
    windows = table.open()
    position, now_s = 0, 0.0
    for life in (*script, CALM):
        for logged in log[position : position + life.records]:
            windows.take(logged, now_s=now_s)
        position += life.records
        now_s = FOREVER_S if life is CALM else now_s + life.seconds
        changes = windows.changes(now_s=now_s)
        if life.survives is None:
            table.apply(changes)
        else:
            table.apply(changes, steps=round(life.survives * steps_of(changes)))
            windows = table.open()
            position = max(0, windows.next_offset - life.rewound)
    return table


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seal blocks of ids after a few, so that every run does."""
    monkeypatch.setattr(counted_ids, "BLOCK_IDS", BLOCK_IDS)


@pytest.mark.timeout(60)
@slow_examples
@given(logs(), lives)
def test_windows_are_those_of_one_pass_over_the_log(log: Log, script: list[Life]) -> None:
    """Property: kills, redelivery and rewinding leave no trace in any window of any length."""
    expected = recompute(log, policy=POLICY)

    table = count(log, script)

    assert table.latest() == expected


@pytest.mark.timeout(60)
@settings(max_examples=settings().max_examples // 2)
@given(logs(), lives)
def test_nothing_is_left_in_the_table_but_what_is_needed(log: Log, script: list[Life]) -> None:
    """Property: after all that, the table holds what a run without crashes holds."""
    table, calm = count(log, script), count(log, [])

    settle(table)
    settle(calm)

    assert windows_in(table) == windows_in(calm)


def settle(table: Table) -> None:
    """Let a new process finish what the one before may have left."""
    table.apply(table.open().changes(now_s=FOREVER_S))


def windows_in(table: Table) -> set[bytes]:
    """Keys of the windows that the table holds."""
    return {key for key in table.entries if key.startswith(b'["window"')}


def totals(published: Published) -> dict[int, int]:
    """Requests by length of window."""
    counted: dict[int, int] = {}
    for window, record in published.items():
        counted[window.size_s] = counted.get(window.size_s, 0) + record.requests
    return counted


@slow_examples
@given(logs())
def test_every_length_of_window_holds_every_request(log: Log) -> None:
    """Property: late or early, overflow or not, a request is in one window of each length."""
    requests = len({logged.event.request_id for logged in log})

    counted = totals(recompute(log, policy=POLICY))

    assert counted == dict.fromkeys((10, 60, 3_600, 86_400), requests)
