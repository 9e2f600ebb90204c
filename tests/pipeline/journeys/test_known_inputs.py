"""Embeddings of inputs that were embedded before, through every stage."""

import json
from pathlib import Path

import msgspec

from services.shared.codec.records import decode_record
from services.shared.domain.events import InferenceRequested, UsageRecorded
from services.shared.domain.topics import Topic
from tests.pipeline.journeys.travel import Travel
from tests.support.example_events import request_id
from tests.support.pipeline import Pipeline
from tests.support.scripted_provider import ScriptedProvider, embedded


def asking(travel: Travel, number: int, *inputs: str) -> InferenceRequested:
    """A request for embeddings."""
    body = msgspec.json.encode({"model": "embed", "input": inputs})
    return travel.request(
        number, operation="embeddings", model="embed", body=body, estimated_input_tokens=3
    )


def vectors(travel: Travel, number: int) -> list[float]:
    """What a request got."""
    document = json.loads(travel.end_of(request_id(number)).response)
    return [item["embedding"][0] for item in document["data"]]


async def test_each_input_is_paid_for_once(pipeline: Pipeline) -> None:
    """Part of an answer, or all of it, comes from the cache; the client and the ledger see it."""
    travel = Travel(pipeline, first=ScriptedProvider(embedded))
    await travel.start()
    await travel.ask(asking(travel, 1, "a", "bb"))
    await travel.ask(asking(travel, 2, "bb", "ccc"))
    await travel.ask(asking(travel, 3, "ccc", "a"))
    assert [asked.body["input"] for asked in travel.first.asked] == [["a", "bb"], ["ccc"]]
    assert [vectors(travel, number) for number in (1, 2, 3)] == [[1, 2], [2, 3], [3, 1]]
    (chunk,) = travel.chunks_of(request_id(3))
    assert chunk.headers["x-millrace-embeddings-cached"] == "2/2"
    assert chunk.payload == travel.end_of(request_id(3)).response
    rows = [
        decode_record(raw.value or b"", UsageRecorded)
        for raw in pipeline.read_records(Topic.USAGE_LEDGER)
    ]
    assert [row.kind for row in rows] == ["attempt", "attempt", "hit"]
    assert sum(row.cost_nanousd for row in rows) == sum(
        travel.end_of(request_id(number)).cost_nanousd for number in (1, 2, 3)
    )


async def test_a_known_request_is_ended_once_over_a_restart(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    """A caller that comes back finds its end in the attempt log."""
    travel = Travel(pipeline, first=ScriptedProvider(embedded))
    await travel.start(slots=tmp_path)
    await travel.ask(asking(travel, 1, "a"))
    await travel.ask(asking(travel, 2, "a"))
    await travel.kill_and_restart("model-caller", slots=tmp_path)
    await pipeline.run_until_quiet()
    ends = [it.response for it in travel.ends() if it.request_id == request_id(2)]
    assert len(set(ends)) == 1
    assert len(travel.first.asked) == 1
