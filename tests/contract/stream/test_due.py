"""Records of a retry topic: none is taken before it is due, and nobody sleeps for it."""

from services.shared.codec.headers import DUE, RETRY_TURNS
from services.shared.codec.records import encode_record
from services.shared.domain.emit import Delay, Emit
from services.shared.domain.topics import RETRY_TOPICS
from tests.contract.stream.rig import Keeper, Rig, stage_of
from tests.support.example_events import routed
from tests.support.pipeline import default_headers

RETRY = RETRY_TOPICS[0]


async def put_off(rig: Rig, number: int, *, due_in_ms: float | None) -> None:
    """Write a request to the retry topic."""
    event = routed(number, request=rig.request(number))
    value = encode_record(event)
    headers = default_headers(event, value)
    if due_in_ms is not None:
        headers.append((DUE, b"%d" % int(rig.backend.clock.now_ms() + due_in_ms)))
    key = event.request.request_id.encode()
    await rig.pipe_raw(value, topic=RETRY, key=key, headers=headers)


async def test_a_record_is_taken_when_it_is_due(rig: Rig) -> None:
    """Not before, soon after, in order; what has no due time is taken at once."""
    keeper = Keeper()
    clock = rig.backend.clock
    await rig.start(stage_of(keeper, delayed=(RETRY,)))
    await put_off(rig, 1, due_in_ms=None)
    await rig.until(lambda: keeper.seen == [1])
    began_ms = clock.now_ms()
    await put_off(rig, 2, due_in_ms=1_500)
    await put_off(rig, 3, due_in_ms=100)
    await rig.until(lambda: 3 in keeper.seen)
    assert keeper.seen == [1, 2, 3]
    assert 1_500 <= clock.now_ms() - began_ms < 4_000


async def test_waiting_records_hold_up_nothing_else(rig: Rig) -> None:
    """The other topics of the stage go on, and so does its membership."""
    keeper = Keeper()
    process = await rig.start(stage_of(keeper, delayed=(RETRY,)))
    await put_off(rig, 1, due_in_ms=30_000)
    await rig.let_pass(0.3)
    await rig.pipe(rig.miss(2))
    await rig.until(lambda: keeper.seen == [2])
    await rig.let_pass(1.5)
    assert process.runtime.is_ready
    assert keeper.seen == [2]


async def test_only_what_was_served_is_committed(rig: Rig) -> None:
    """A process that ends meanwhile leaves the record to the next one, which waits for the rest."""
    keeper = Keeper()
    first = await rig.start(stage_of(keeper, delayed=(RETRY,)))
    await put_off(rig, 1, due_in_ms=None)
    due_at_ms = rig.backend.clock.now_ms() + 2_499
    await put_off(rig, 2, due_in_ms=2_500)
    await rig.until(lambda: keeper.seen == [1])
    await keeper.let_go(1)
    await rig.until_committed(1, RETRY, group=RETRY)
    await first.stop()
    heir = Keeper()
    await rig.start(stage_of(heir, delayed=(RETRY,)))
    await rig.until(lambda: heir.seen == [2])
    assert rig.backend.clock.now_ms() >= due_at_ms
    await heir.let_go(2)
    await rig.until_committed(2, RETRY, group=RETRY)


async def test_a_rebalance_takes_nothing_early(rig: Rig) -> None:
    """Pauses are forgotten with the partitions; the records still wait."""
    keeper, other = Keeper(), Keeper()
    await rig.start(stage_of(keeper, delayed=(RETRY,)))
    clock = rig.backend.clock
    due_at_ms = clock.now_ms() + 3_000
    await put_off(rig, 1, due_in_ms=3_000)
    await rig.let_pass(0.3)
    await rig.start(stage_of(other, delayed=(RETRY,)))
    await rig.until(lambda: keeper.seen + other.seen == [1])
    assert clock.now_ms() >= due_at_ms - 1


async def test_a_record_that_was_put_off_says_so(rig: Rig) -> None:
    """Its headers are those of its request, the due time and the turns; no hop is added."""
    keeper = Keeper()
    await rig.start(stage_of(keeper))
    await rig.pipe(rig.miss(1))
    await rig.until(lambda: 1 in keeper.open)
    work = keeper.open[1]
    event = routed(1, request=work.event.request, hops=())
    delay = Delay(due_ms=123, turns=2)
    await work.emit(
        Emit(
            topic=RETRY,
            key=event.request.request_id,
            event=event,
            request=event.request,
            delay=delay,
        )
    )
    work.finish()
    await rig.until_committed(1)
    (raw,) = await rig.backend.records(RETRY)
    headers = dict(raw.headers)
    assert (headers[DUE], headers[RETRY_TURNS]) == (b"123", b"\0\0\0\2")
    assert headers["millrace-request-id"] == event.request.request_id.encode()
    assert await rig.events(RETRY) == [event]
