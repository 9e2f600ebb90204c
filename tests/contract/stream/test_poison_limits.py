"""When there is so much poison that the fault is more likely in us."""

import pytest

from services.shared.codec.records import encode_record
from services.shared.domain.errors import MustStop
from services.shared.domain.topics import Topic
from tests.contract.stream.rig import OUT, Rig, answer_all, stage_of
from tests.contract.stream.test_poison import _noting

PUBLIC = Topic.INFERENCE_REQUESTS_P0


async def test_an_internal_topic_is_not_drained_into_its_dead_letters(rig: Rig) -> None:
    """After more than fifty in a row the process stops, and not one more is buried."""
    for i in range(80):
        await rig.pipe_raw(b"poison %d" % i)
    process = rig.prepare(stage_of(answer_all))
    with pytest.raises(MustStop, match="51 poison records in a row"):
        await process.until_ended()
    await process.kill()
    assert len(await rig.dead_letters()) <= 50
    assert await rig.committed() <= 50


async def test_a_good_record_breaks_the_row(rig: Rig) -> None:
    """Poison now and then is the producer's problem."""
    for i in range(80):
        await rig.pipe_raw(b"poison %d" % i)
        if i == 40:
            await rig.pipe(rig.miss(1))
    await rig.start(stage_of(answer_all))
    await rig.until_committed(81)
    assert len(await rig.dead_letters()) == 80


async def test_more_than_one_in_a_hundred_of_a_thousand_stops_as_well(rig: Rig) -> None:
    """Ten in a thousand are borne; the eleventh ends the process."""
    for i in range(989):
        await rig.pipe(rig.miss(i))
    for i in range(10):
        await rig.pipe_raw(b"poison %d" % i)
    await rig.pipe(rig.miss(2000))
    process = await rig.start(stage_of(answer_all))
    await rig.until_committed(1000)
    await rig.pipe_raw(b"the eleventh")
    with pytest.raises(MustStop, match="11 of the last 1000"):
        await process.until_ended()
    await process.kill()
    assert len(await rig.dead_letters()) == 10
    assert len(await rig.numbers(OUT)) == 990


async def test_a_public_topic_never_stops_us(rig: Rig) -> None:
    """Anybody may write nonsense there; it all becomes dead letters."""
    for i in range(120):
        await rig.pipe_raw(b"poison %d" % i, topic=PUBLIC)
    await rig.pipe_raw(encode_record(rig.request(1)), topic=PUBLIC)
    seen: list[int] = []
    await rig.start(stage_of(_noting(seen), topics=(PUBLIC,)))
    await rig.until_committed(121, PUBLIC)
    assert len(await rig.dead_letters(PUBLIC)) == 120
    assert seen == [1]
