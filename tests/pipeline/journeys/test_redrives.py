"""Dead letters that are put back, through the whole pipeline."""

from io import StringIO

from rich.console import Console

from services.cli.dlq.decide import Wish
from services.cli.dlq.desk import Desk
from services.cli.dlq.options import Filters
from services.cli.dlq.running import run_redrive
from services.cli.manner import Manner
from services.shared.codec.headers import CRC32C, REQUEST_ID, checksum, headers_of_request
from services.shared.codec.records import encode_record
from services.shared.domain.events import InferenceRequested
from services.shared.domain.topics import Topic, dead_letters
from tests.pipeline.journeys.travel import Travel
from tests.support.example_events import BODY, missed, request_id
from tests.support.memory_dead_letters import MemoryDeadLetterLog, bury
from tests.support.pipeline import Pipeline

_TOPIC = Topic.CACHE_MISSES
_PUBLIC = Topic.INFERENCE_REQUESTS_P1


def _redrive(pipeline: Pipeline, letter_id: str, wish: Wish) -> bool:
    console = Console(file=StringIO())
    desk = Desk(
        log=MemoryDeadLetterLog(pipeline.cluster),
        console=console,
        errors=console,
        now_ms=pipeline.clock.now_ms,
    )
    return run_redrive(desk, Filters(ids=[letter_id]), wish, Manner(yes=True))


async def test_a_record_that_was_redriven_twice_has_one_effective_end(pipeline: Pipeline) -> None:
    """The second redrive is refused; where it is forced, the first end stays the truth."""
    travel = Travel(pipeline)
    request = travel.request(1)
    event = missed(1, request=request)
    value = encode_record(event)
    headers = [*headers_of_request(request), (CRC32C, checksum(value))]
    letter_id = bury(
        pipeline.cluster, _TOPIC, value, key=request.request_id.encode(), headers=headers
    )
    pipeline.cluster.truncate(_TOPIC, before=1)  # it was given up before these stages began
    await travel.start()
    await pipeline.run_until_quiet()
    assert travel.ends() == []

    assert _redrive(pipeline, letter_id, Wish())
    await pipeline.run_until_quiet()
    (first,) = travel.ends()
    assert first.outcome == "completed"
    assert not _redrive(pipeline, letter_id, Wish())
    await pipeline.run_until_quiet()
    assert travel.ends() == [first]

    assert _redrive(pipeline, letter_id, Wish(again=True))
    await pipeline.run_until_quiet()
    assert travel.end_of(request_id(1)) == first
    assert {end.outcome for end in travel.ends()} == {"completed"}


async def test_what_is_poison_still_dies_again_once(pipeline: Pipeline) -> None:
    """Its new dead letter knows how often it was put back; nothing else notices."""
    travel = Travel(pipeline)
    await travel.start()
    pipeline.pipe_raw(_TOPIC, b"\0\0\0\0\x63garbage", key=b"anything")
    await pipeline.run_until_quiet()
    assert _redrive(pipeline, f"{_TOPIC}-0-0", Wish())
    await pipeline.run_until_quiet()
    first, mark, second = pipeline.cluster.records(dead_letters(_TOPIC))
    assert mark.value is None
    assert second.value == first.value
    headers = dict(second.headers)
    assert headers["millrace-redriven-from"] == b"cache-misses-dlq-0-0"
    assert headers["millrace-redrives"] == b"1"
    assert len(headers) == len(second.headers)
    assert _redrive(pipeline, f"{_TOPIC}-0-1", Wish())
    await pipeline.run_until_quiet()
    assert dict(pipeline.cluster.records(dead_letters(_TOPIC))[-1].headers)[
        "millrace-redrives"
    ] == (b"2")
    assert travel.ends() == []


async def test_a_producers_request_is_answered_under_its_new_id(pipeline: Pipeline) -> None:
    """As if its producer had asked again; what its old id got stays as it is."""
    travel = Travel(pipeline)
    await travel.start()
    event = InferenceRequested(request_id=request_id(1), operation="chat", body=BODY)
    failed = await travel.produce(event, topic=_PUBLIC, **{REQUEST_ID: request_id(2)})
    assert failed.outcome == "failed"
    assert _redrive(pipeline, f"{_PUBLIC}-0-0", Wish(as_new_request=True))
    await pipeline.run_until_quiet()
    old, new = travel.ends()
    assert old == failed
    assert new.outcome == "completed"
    assert new.request_id != old.request_id
