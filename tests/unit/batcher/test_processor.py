"""Windows over routed requests."""

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from services.batcher import processor
from services.batcher.processor import BatcherProcessor, BatchMetrics, Closed
from services.shared.domain.configuration import (
    Batcher,
    BatchWindow,
    Configuration,
    EmbeddingsWindow,
    Model,
    ModelTarget,
    Provider,
)
from services.shared.domain.events import RequestBatch, RequestRouted
from services.shared.domain.topics import Topic
from tests.support.example_events import request_id, requested, routed
from tests.support.fake_clock import START_MS
from tests.support.open_record import RecordInWork

CONFIGURATION = Configuration(
    providers={
        "simulator": Provider(base_url="http://s/v1", isolates_inputs_by_index=True),
        "shared": Provider(base_url="http://t/v1"),
    },
    models={
        "apart": Model(targets=(ModelTarget(provider="simulator"),), merge=False),
        "prompts": Model(targets=(ModelTarget(provider="simulator"),), merge_completions=True),
    },
    batcher=Batcher(
        chat=BatchWindow(window_ms=5, max_count=4, max_bytes=1000),
        embeddings=EmbeddingsWindow(window_ms=10, max_count=3),
    ),
)


class Batching:
    """A batcher and a count of its batches."""

    def __init__(self, configuration: Configuration = CONFIGURATION) -> None:
        """Start it."""
        self.registry = CollectorRegistry()
        self._made = 0
        self.processor = BatcherProcessor(
            configuration, new_batch_id=self._new_id, metrics=BatchMetrics(self.registry)
        )

    def take(
        self, *members: RequestRouted, after_ms: float = 0, partition: int = 0
    ) -> list[Closed]:
        """Take these as one poll."""
        works = [RecordInWork(member, partition=partition) for member in members]
        return self.processor.take(works, now_ms=START_MS + after_ms)

    def due(self, after_ms: float) -> list[Closed]:
        """What leaves at a time."""
        return self.processor.on_due(now_ms=START_MS + after_ms)

    def _new_id(self) -> str:
        self._made += 1
        return f"batch_{self._made}"


def member(
    number: int = 1,
    *,
    operation: str = "chat",
    provider: str = "simulator",
    alias: str = "small",
    **changes: object,
) -> RequestRouted:
    """A routed request."""
    event = routed(number, request=requested(number, operation=operation, **changes))
    target = msgspec.structs.replace(event.route.targets[0], provider=provider)
    route = msgspec.structs.replace(event.route, targets=(target,), alias=alias)
    return msgspec.structs.replace(event, route=route, lane=f"{provider}/small/{operation}")


def batches(closed: Sequence[Closed]) -> list[RequestBatch]:
    """The batches that left."""
    found = [emit.event for _, emit in closed]
    assert all(isinstance(event, RequestBatch) for event in found)
    return [event for event in found if isinstance(event, RequestBatch)]


def numbers(batch: RequestBatch) -> list[str]:
    """The requests of a batch."""
    return [it.request.request_id for it in batch.members]


def test_a_window_waits_for_others_and_closes_by_time() -> None:
    """What comes within its time leaves together, with a hop each."""
    batching = Batching()
    assert batching.take(member(1)) == []
    assert batching.processor.due_at_ms() == START_MS + 5
    assert batching.take(member(2), after_ms=3) == []
    assert batching.due(4.9) == []
    ((works, emit),) = batching.due(5)
    (batch,) = batches([(works, emit)])
    assert (batch.closed_by, batch.opened_at, batch.merge) == ("time", int(START_MS), False)
    assert numbers(batch) == [request_id(1), request_id(2)]
    assert [it.hops[-1].finished_ms for it in batch.members] == [5, 5]
    assert [len(it.hops) for it in batch.members] == [2, 2]
    assert len(works) == 2
    assert (emit.key, emit.partition, emit.topic) == ("batch_1", 0, Topic.REQUEST_BATCHES_P0)
    assert batching.processor.due_at_ms() is None


def test_a_lone_request_soon_does_not_wait() -> None:
    """In a lane where nothing ever joined, windows close in the poll that opened them."""
    batching = Batching()
    for round_ in range(20):
        batching.take(member(round_), after_ms=round_ * 100)
        batching.due(round_ * 100 + 5)
    (closed,) = batching.take(member(99), after_ms=5000)
    assert batches([closed])[0].closed_by == "lone"
    (closed,) = batching.take(member(100), member(101), after_ms=6000)
    assert batches([closed])[0].closed_by == "burst"


@pytest.mark.parametrize(
    ("members", "by", "sizes", "open_count"),
    [
        pytest.param([member(i) for i in range(4)], ["count"], [4], 0, id="count"),
        pytest.param([member(i) for i in range(9)], ["count", "count"], [4, 4], 1, id="twice"),
        pytest.param([member(1, estimated_input_tokens=10**6)], ["tokens"], [1], 0, id="tokens"),
        pytest.param([member(1, body=b"x" * 1000)], ["bytes"], [1], 0, id="bytes"),
        pytest.param(
            [member(1, body=b"x" * 600), member(2, body=b"x" * 600)],
            ["bytes"],
            [1],
            1,
            id="the_next_does_not_fit",
        ),
    ],
)
def test_a_full_window_closes_at_once(
    members: list[RequestRouted], by: list[str], sizes: list[int], open_count: int
) -> None:
    """Nobody waits in a window that nobody can join."""
    batching = Batching()
    found = batches(batching.take(*members))
    assert [batch.closed_by for batch in found] == by
    assert [len(batch.members) for batch in found] == sizes
    left = batches(batching.due(5))
    assert sum(len(batch.members) for batch in left) == open_count


def test_a_near_deadline_leaves_at_once() -> None:
    """It does not wait for a window's time."""
    batching = Batching()
    closed = batching.take(member(1, deadline_at=int(START_MS) + 20), member(2))
    (batch,) = batches(closed)
    assert (batch.closed_by, numbers(batch)) == ("deadline", [request_id(1), request_id(2)])


def test_windows_are_for_one_partition_lane_and_priority() -> None:
    """Whatever differs in these leaves apart, on its own topic and partition."""
    batching = Batching()
    batching.take(
        member(1), member(2, priority=1), member(3, priority=2), member(4, provider="shared")
    )
    batching.take(member(5), partition=3)
    closed = batching.due(5)
    assert sorted(len(batch.members) for batch in batches(closed)) == [1] * 5
    places = {(emit.topic.value, emit.partition) for _, emit in closed}
    assert places == {
        ("request-batches-p0", 0),
        ("request-batches-p1", 0),
        ("request-batches-p2", 0),
        ("request-batches-p0", 3),
    }


@pytest.mark.parametrize(
    ("first", "second", "is_shared", "merges"),
    [
        pytest.param(
            member(1, operation="embeddings"),
            member(2, operation="embeddings", tenant="other"),
            True,
            True,
            id="isolated_inputs",
        ),
        pytest.param(
            member(1, operation="embeddings", provider="shared"),
            member(2, operation="embeddings", provider="shared", tenant="other"),
            False,
            True,
            id="no_isolation",
        ),
        pytest.param(
            member(1, operation="embeddings", provider="gone"),
            member(2, operation="embeddings", provider="gone", tenant="other"),
            False,
            True,
            id="an_unknown_provider",
        ),
        pytest.param(
            member(1, provider="shared"),
            member(2, provider="shared", tenant="other"),
            True,
            False,
            id="chats_are_calls_of_their_own",
        ),
        pytest.param(
            member(1, operation="embeddings", alias="apart"),
            member(2, operation="embeddings", alias="apart"),
            True,
            False,
            id="merging_is_off",
        ),
        pytest.param(
            member(1, operation="embeddings", alias="apart"),
            member(2, operation="embeddings"),
            False,
            True,
            id="merging_is_off_for_one",
        ),
    ],
)
def test_tenants_share_a_call_only_where_inputs_are_isolated(
    *, first: RequestRouted, second: RequestRouted, is_shared: bool, merges: bool
) -> None:
    """A provider that lets inputs influence one another never sees two tenants in one call."""
    batching = Batching()
    batching.take(first, second)
    found = batches(batching.due(10))
    assert (len(found) == 1) is is_shared
    assert found[-1].merge is merges


def test_embeddings_have_their_own_window() -> None:
    """Longer, since one call serves all of it."""
    batching = Batching()
    batching.take(member(1, operation="embeddings"))
    assert batching.processor.due_at_ms() == START_MS + 10
    assert [
        b.closed_by
        for b in batches(
            batching.take(*(member(i, operation="embeddings") for i in (2, 3)), after_ms=2)
        )
    ] == ["count"]


def test_lanes_of_names_that_callers_choose_are_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Memory does not grow with the names that were ever asked for."""
    monkeypatch.setattr(processor, "_MAX_LANES", 10)
    batching = Batching()
    events = [
        msgspec.structs.replace(member(number), lane=f"simulator/m{number}/chat")
        for number in range(50)
    ]
    batching.take(*events)
    assert len(batches(batching.due(5))) == 50
    assert len(batching.processor._lanes) == 10


def test_windows_are_counted() -> None:
    """By why they closed, with how many they held."""
    batching = Batching()
    batching.take(*(member(i) for i in range(4)))
    labels = {"by": "count"}
    assert batching.registry.get_sample_value("millrace_batches_total", labels) == 1
    name = "millrace_batch_members_sum"
    assert batching.registry.get_sample_value(name, {"operation": "chat"}) == 4


@pytest.mark.parametrize(
    ("changes", "merges"),
    [
        ({"alias": "prompts", "operation": "text_completion"}, True),
        ({"alias": "prompts", "operation": "text_completion", "stream": True}, False),
        ({"alias": "apart", "operation": "text_completion"}, False),
        ({"alias": "unknown", "operation": "text_completion"}, False),
        ({"alias": "prompts", "operation": "chat"}, False),
    ],
)
def test_only_completions_whose_model_says_so_share_a_call(
    changes: dict[str, Any], *, merges: bool
) -> None:
    """And never a stream: its words are one client's."""
    batching = Batching()
    batching.take(member(1, **changes))
    (batch,) = batches(batching.due(10))
    assert batch.merge is merges


def test_a_client_that_asks_once_in_a_while_never_waits_but_the_first_time() -> None:
    """Nobody came in the time of two windows, so nobody will come in one."""
    batching = Batching()
    batching.take(member(1))
    batching.due(5)
    for number in range(2, 100):
        (closed,) = batching.take(member(number), after_ms=number * 50)
        assert batches([closed])[0].closed_by == "lone"
