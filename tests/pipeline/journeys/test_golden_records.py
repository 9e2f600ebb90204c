"""Every stage takes every example of the topics that it reads."""

import pytest

from services.shared.codec.records import decode_record
from services.shared.codec.topics import packaged_topics
from services.shared.domain.topics import Topic
from tests.pipeline.journeys.travel import Travel
from tests.support.golden_records import GoldenRecord, golden_records
from tests.support.pipeline import Pipeline

GOLDENS = golden_records()
CASES = [
    pytest.param(topic, golden, id=f"{topic}-{golden.case}")
    for topic, spec in packaged_topics().items()
    for golden in GOLDENS
    if golden.record == spec.record and spec.dlq
]


@pytest.mark.parametrize(("topic", "golden"), CASES)
async def test_an_example_is_taken(pipeline: Pipeline, topic: str, golden: GoldenRecord) -> None:
    """As its producer writes it: it leads to something, and is no dead letter anywhere."""
    travel = Travel(pipeline)
    await travel.start()
    event = decode_record(golden.wire, golden.event_type)
    pipeline.pipe_input(topic, event)
    await pipeline.run_until_quiet()
    buried = [it for it in pipeline.cluster.topics if it.endswith("-dlq")]
    assert [it for it in buried if pipeline.cluster.records(it)] == []
    assert travel.ends() or topic == Topic.INFERENCE_RESULTS
