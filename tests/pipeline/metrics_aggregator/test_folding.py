"""From terminal records to windows, on a log in memory and fake time."""

import asyncio
import struct
from collections.abc import AsyncIterator, Iterable
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from services.metrics_aggregator.decide import Policy
from services.metrics_aggregator.processor import (
    CONSUMES,
    EMITS,
    AggregatorMetrics,
    MetricsAggregatorProcessor,
)
from services.shared.codec.records import decode_record
from services.shared.codec.topics import packaged_topics
from services.shared.domain.errors import MustStop
from services.shared.domain.events import CacheEvidence, InferenceFinished, UsageWindow
from services.shared.domain.topics import Topic, dead_letters
from services.shared.domain.usage_windows import merge_partials
from services.shared.ports.folding import Logged
from services.shared.stream.poison import MAX_CONSECUTIVE
from tests.support.fake_clock import START_MS
from tests.support.folding import Changelog, Folder
from tests.support.golden_records import GoldenRecord, golden_records
from tests.support.pipeline import Pipeline
from tests.support.terminals import answered, failed, hit

RESULTS = Topic.INFERENCE_RESULTS
DLQ = dead_letters(RESULTS)
NOW_MS = int(START_MS)
TOPICS = packaged_topics()


class Stack:
    """A log, a changelog, and one process after the other that folds."""

    def __init__(self, *, partitions: int) -> None:
        """Make the topics."""
        self.partitions = frozenset(range(partitions))
        self.changelog: Changelog = []
        self.registry = CollectorRegistry()
        self.folders: list[Folder] = []
        self._count = partitions

    async def start(self, *, partitions: frozenset[int] | None = None) -> Folder:
        """Start a process."""
        if not self.folders:
            self.pipeline = Pipeline(_clock(), partitions=self._count)
        folder = Folder(self.pipeline.cluster, topic=RESULTS, group="metrics-aggregator")
        self.registry = CollectorRegistry()
        fold = MetricsAggregatorProcessor(policy=Policy(), metrics=AggregatorMetrics(self.registry))
        await folder.start(
            fold, self.changelog, partitions=self.partitions if partitions is None else partitions
        )
        self.folders.append(folder)
        return folder

    def verdicts(self, verdict: str) -> float:
        """How many records the last process judged so."""
        labels = {"verdict": verdict}
        return self.registry.get_sample_value("millrace_aggregated_records_total", labels) or 0.0

    def end(self, terminals: Iterable[InferenceFinished]) -> None:
        """Append terminal records, as their stages do."""
        for terminal in terminals:
            self.pipeline.pipe_input(RESULTS, terminal)

    def windows(self, size_s: int = 86_400) -> list[UsageWindow]:
        """Windows of a length as a reader of the topic sees them."""
        records = self.pipeline.cluster.records(Topic.USAGE_WINDOWS)
        events = [_window(raw.value) for raw in records]
        return [window for window in merge_partials(events) if window.window_s == size_s]

    def requests(self, size_s: int = 86_400) -> int:
        """Requests in all windows of a length."""
        return sum(window.requests for window in self.windows(size_s))


def _clock() -> Any:
    return asyncio.get_running_loop().clock  # type: ignore[attr-defined]


def _window(value: bytes | None) -> UsageWindow:
    return decode_record(value or b"", UsageWindow)


@pytest.fixture(params=[1, 4], ids=["one-partition", "four-partitions"])
async def stack(request: pytest.FixtureRequest) -> AsyncIterator[Stack]:
    """A stack; its processes are killed at the end."""
    made = Stack(partitions=request.param)
    yield made
    for folder in made.folders:
        await folder.kill()


async def test_terminals_become_windows_of_every_length(stack: Stack) -> None:
    """Within seconds the short windows show them, within a minute the day's does."""
    folder = await stack.start()
    stack.end([answered(1, at_ms=NOW_MS), hit(2, at_ms=NOW_MS), failed(3, at_ms=NOW_MS)])
    await folder.deliver()

    await asyncio.sleep(4)
    assert stack.requests(10) == 3
    await asyncio.sleep(60)

    for size_s in (60, 3_600, 86_400):
        assert stack.requests(size_s) == 3
    (day_of_model,) = [w for w in stack.windows() if w.provider and w.failed]
    assert (day_of_model.requests, day_of_model.completed, day_of_model.failed) == (2, 1, 1)
    assert day_of_model.cost_nanousd == 2_468
    assert folder.fatal is None


async def test_killed_processes_leave_no_trace(stack: Stack) -> None:
    """Each process dies in the middle of its writes; repeated terminals are among the records."""
    for life in range(6):
        folder = await stack.start()
        folder.table.delay_s = 0.05
        ended = [answered(n, at_ms=NOW_MS + life * 7_000) for n in range(life * 10, life * 10 + 12)]
        stack.end(ended)
        await folder.deliver()
        await asyncio.sleep(1.0 + life * 0.02)  # the round began; some of it is acknowledged
        await folder.kill()

    folder = await stack.start()
    await folder.deliver()
    await asyncio.sleep(70)

    assert stack.requests() == 62
    assert stack.requests(10) == 62
    assert sum(window.cost_nanousd for window in stack.windows()) == 62 * 1_234


async def test_shared_calls_are_counted_once(stack: Stack) -> None:
    """Joiners have a column, whatever dies and whatever is written twice; a call has one cost."""
    joined = CacheEvidence(outcome="joined")
    for life in range(3):
        folder = await stack.start()
        folder.table.delay_s = 0.05
        stack.end([answered(n, at_ms=NOW_MS) for n in range(life, life + 2)])
        stack.end(
            answered(10 + n, at_ms=NOW_MS, cache=joined, calls=(), cost_nanousd=0)
            for n in range(life * 2, life * 2 + 4)
        )
        await folder.deliver()
        await asyncio.sleep(1.0 + life * 0.02)
        await folder.kill()

    folder = await stack.start()
    await folder.deliver()
    await asyncio.sleep(70)

    for size_s in (10, 60, 3_600, 86_400):
        windows = stack.windows(size_s)
        assert sum(window.joined for window in windows) == 8
        assert sum(window.requests for window in windows) == 12
        assert sum(window.cost_nanousd for window in windows) == 4 * 1_234


async def test_a_record_that_is_no_record_becomes_one_dead_letter(stack: Stack) -> None:
    """Its bytes are kept as they are, the others are counted, and a restart makes no second one."""
    folder = await stack.start()
    stack.end([answered(1, at_ms=NOW_MS)])
    offset = stack.pipeline.pipe_raw(RESULTS, b"\x00garbage", key=b"k", partition=0)
    stack.end([answered(2, at_ms=NOW_MS)])
    await folder.deliver()
    await asyncio.sleep(70)
    await folder.kill()
    again = await stack.start()
    await again.deliver()
    await asyncio.sleep(2)

    (letter,) = stack.pipeline.cluster.records(DLQ)
    headers = dict(letter.headers)
    assert letter.value == b"\x00garbage"
    assert headers["kafka_dlt-original-topic"] == RESULTS.encode()
    assert headers["kafka_dlt-original-offset"] == struct.pack(">q", offset)
    assert headers["kafka_dlt-original-consumer-group"] == b"metrics-aggregator"
    assert stack.requests() == 2


@pytest.mark.parametrize("stack", [1], indirect=True)
async def test_what_cannot_be_counted_is_a_dead_letter_too(stack: Stack) -> None:
    """A record that decodes but makes no sense is not lost either."""
    folder = await stack.start()
    stack.end([answered(1, at_ms=NOW_MS, outcome="vanished"), answered(2, at_ms=NOW_MS)])
    await folder.deliver()
    await asyncio.sleep(70)

    (letter,) = stack.pipeline.cluster.records(DLQ)
    assert dict(letter.headers)["kafka_dlt-exception-fqcn"] == b"millrace.semantic_invalid"
    assert stack.requests() == 1


@pytest.mark.parametrize("stack", [1], indirect=True)
async def test_a_fault_of_ours_loses_no_record(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where counting itself fails, the record becomes a dead letter and the next one is counted."""
    folder = await stack.start()
    opened = folder.folding._partitions[0].fold
    take = opened.take

    def fails_once(logged: Logged[InferenceFinished], *, now_s: float) -> None:
        if logged.offset == 0:
            raise ZeroDivisionError("a bug")
        take(logged, now_s=now_s)

    monkeypatch.setattr(opened, "take", fails_once)
    stack.end([answered(1, at_ms=NOW_MS), answered(2, at_ms=NOW_MS)])
    await folder.deliver()
    await asyncio.sleep(70)

    (letter,) = stack.pipeline.cluster.records(DLQ)
    assert dict(letter.headers)["kafka_dlt-exception-fqcn"] == b"millrace.processing_failed"
    assert stack.requests() == 1
    assert folder.fatal is None


@pytest.mark.parametrize("stack", [1], indirect=True)
async def test_too_much_poison_stops_the_service(stack: Stack) -> None:
    """It does not drain the topic into its dead letters; what follows waits for a look."""
    folder = await stack.start()
    for _ in range(MAX_CONSECUTIVE + 3):
        stack.pipeline.pipe_raw(RESULTS, b"junk", key=b"k", partition=0)
    await folder.deliver()

    assert isinstance(folder.fatal, MustStop)
    assert len(stack.pipeline.cluster.records(DLQ)) == MAX_CONSECUTIVE


@pytest.mark.parametrize("stack", [1], indirect=True)
async def test_tombstones_are_passed_over(stack: Stack) -> None:
    """They mean nothing on this topic, and hold nothing up."""
    folder = await stack.start()
    stack.pipeline.pipe_raw(RESULTS, None, key=b"k", partition=0)
    stack.end([answered(1, at_ms=NOW_MS)])
    await folder.deliver()
    await asyncio.sleep(70)

    assert stack.requests() == 1
    assert stack.pipeline.cluster.records(DLQ) == []


@pytest.mark.parametrize("stack", [1], indirect=True)
async def test_records_that_were_not_delivered_are_asked_for_again(stack: Stack) -> None:
    """Faust may lose some in a rebalance; what comes behind them waits for them."""
    folder = await stack.start()
    stack.end([answered(n, at_ms=NOW_MS) for n in range(5)])
    records = stack.pipeline.cluster.records(RESULTS)
    await folder.hand_over(records[0])
    for behind in records[3:]:
        await folder.hand_over(behind)
    assert [offset for _, offset in folder.sought] == [1]

    for raw in records[1:]:
        await folder.hand_over(raw)
    await asyncio.sleep(70)

    assert stack.requests() == 5
    assert len(folder.sought) == 1


@pytest.mark.parametrize("stack", [1], indirect=True)
async def test_records_lost_twice_are_asked_for_twice(stack: Stack) -> None:
    """Each loss is one question, however much comes behind it."""
    folder = await stack.start()
    stack.end([answered(n, at_ms=NOW_MS) for n in range(5)])
    records = stack.pipeline.cluster.records(RESULTS)
    for number in (2, 3, 0, 4, 1, 2, 3, 4):
        await folder.hand_over(records[number])
    await asyncio.sleep(70)

    assert [offset for _, offset in folder.sought] == [0, 1]
    assert stack.requests() == 5


@pytest.mark.parametrize("stack", [1], indirect=True)
async def test_offsets_without_a_record_hold_nothing_up(stack: Stack) -> None:
    """Transactions leave them, and retention."""
    folder = await stack.start()
    stack.end([answered(1, at_ms=NOW_MS)])
    transaction = stack.pipeline.cluster.begin(RESULTS)
    transaction.append(b"never committed", key=b"k")
    transaction.abort()
    stack.end([answered(2, at_ms=NOW_MS)])
    await folder.deliver()
    await asyncio.sleep(70)

    assert folder.sought == []
    assert stack.requests() == 2


@pytest.mark.parametrize("stack", [4], indirect=True)
async def test_partitions_move_between_processes(stack: Stack) -> None:
    """What one process wrote before it let go, the other goes on from, and folds nothing else."""
    first = await stack.start()
    stack.end([answered(n, at_ms=NOW_MS) for n in range(40)])
    await first.deliver()
    await first.folding.close()
    first.folding.open(frozenset({0, 1}))
    second = await stack.start(partitions=frozenset({2, 3}))
    stack.end([answered(n, at_ms=NOW_MS + 9_000) for n in range(30, 60)])
    for folder in (first, second):
        for raw in stack.pipeline.cluster.records(RESULTS):
            await folder.hand_over(raw)
    await asyncio.sleep(70)

    assert {tp.partition for tp in second.folding.positions()} == {2, 3}
    assert stack.requests() == 60


@pytest.mark.parametrize("stack", [1], indirect=True)
async def test_a_process_that_may_not_write_does_not(stack: Stack) -> None:
    """Fenced means that somebody else counts on from the same table."""
    folder = await stack.start()
    stack.end([answered(1, at_ms=NOW_MS)])
    await folder.deliver()
    folder.fence.shut(MustStop("somebody else has its partitions"))
    await asyncio.sleep(5)

    assert stack.changelog == []
    assert isinstance(folder.fatal, MustStop)


@pytest.mark.parametrize("stack", [1], indirect=True)
async def test_a_round_of_unknown_outcome_ends_the_process(stack: Stack) -> None:
    """What became durable is seen by the next process, not guessed by this one."""
    folder = await stack.start()
    stack.end([answered(1, at_ms=NOW_MS)])
    await folder.deliver()
    folder.table.is_broken = True
    await asyncio.sleep(2)

    assert isinstance(folder.fatal, MustStop)
    again = await stack.start()
    await again.deliver()
    await asyncio.sleep(70)
    assert stack.requests() == 1


async def test_nothing_is_due_when_nothing_happens(stack: Stack) -> None:
    """An idle process writes nothing, and so does one that has published all it knows."""
    folder = await stack.start()
    await asyncio.sleep(600)
    assert stack.changelog == []
    stack.end([answered(1, at_ms=NOW_MS)])
    await folder.deliver()
    await asyncio.sleep(100)
    written = len(stack.changelog), len(stack.pipeline.cluster.records(Topic.USAGE_WINDOWS))

    await asyncio.sleep(3_600)

    assert written == (
        len(stack.changelog),
        len(stack.pipeline.cluster.records(Topic.USAGE_WINDOWS)),
    )


@pytest.mark.parametrize("stack", [1], indirect=True)
async def test_metrics_say_what_became_of_each_record(stack: Stack) -> None:
    """Counted, repeated, delivered again: an operator sees which."""
    folder = await stack.start()
    stack.end([answered(1, at_ms=NOW_MS), answered(1, at_ms=NOW_MS), answered(2, at_ms=0)])
    await folder.deliver()
    await folder.hand_over(stack.pipeline.cluster.records(RESULTS)[0])

    assert stack.verdicts("counted") == 2
    assert stack.verdicts("duplicate") == 1
    assert stack.verdicts("redelivered") == 1
    assert stack.verdicts("late") == 1


TERMINALS = [golden for golden in golden_records() if golden.record == "inference_finished"]


@pytest.mark.parametrize("golden", TERMINALS, ids=str)
@pytest.mark.parametrize("stack", [1], indirect=True)
async def test_every_example_of_a_terminal_record_is_counted(
    stack: Stack, golden: GoldenRecord
) -> None:
    """As its stage writes it, however old its schema."""
    folder = await stack.start()
    stack.end([decode_record(golden.wire, InferenceFinished)])
    await folder.deliver()
    await asyncio.sleep(70)

    assert stack.requests() == 1
    assert stack.pipeline.cluster.records(DLQ) == []


def test_it_reads_and_writes_what_the_topics_say() -> None:
    """The processor's topics are those of the declarations."""
    reads = {topic for topic, spec in TOPICS.items() if "metrics_aggregator" in spec.consumers}
    writes = {topic for topic, spec in TOPICS.items() if "metrics_aggregator" in spec.producers}

    assert reads == set(CONSUMES)
    assert writes == set(EMITS)
