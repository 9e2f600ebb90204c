"""What a consumer promises, whatever log it reads."""

import asyncio

import pytest

from services.shared.domain.errors import Unavailable
from services.shared.stream.client import TopicPartition
from tests.contract.stream.members import GROUP, TOPIC, Member, place
from tests.support.log_backend import LogBackend


async def test_records_come_in_order_with_all_that_was_written(backend: LogBackend) -> None:
    """Offset, key, value, headers and timestamp arrive as they were produced."""
    await backend.make_topic(TOPIC)
    headers = [("a", b"1"), ("b", b"")]
    for i in range(3):
        await backend.append(
            TOPIC, b"v%d" % i, key=b"k%d" % i, headers=headers, timestamp_ms=1000 + i
        )
    member = await Member(backend).join()
    await member.take(3)
    assert [(raw.offset, raw.key, raw.value, raw.timestamp) for raw in member.taken] == [
        (0, b"k0", b"v0", 1000),
        (1, b"k1", b"v1", 1001),
        (2, b"k2", b"v2", 1002),
    ]
    assert {raw.headers for raw in member.taken} == {tuple(headers)}
    await member.consumer.stop()


async def test_null_keys_and_tombstones_arrive_as_none(backend: LogBackend) -> None:
    """A missing key or value is no empty one."""
    await backend.make_topic(TOPIC)
    await backend.append(TOPIC, None, key=b"k")
    await backend.append(TOPIC, b"", key=None)
    member = await Member(backend).join()
    await member.take(2)
    assert [(raw.key, raw.value) for raw in member.taken] == [(b"k", None), (None, b"")]
    await member.consumer.stop()


async def test_a_group_without_offsets_starts_at_the_start_of_the_log(
    backend: LogBackend,
) -> None:
    """What was written before the first member, and not yet forgotten, is read."""
    await backend.make_topic(TOPIC)
    for i in range(5):
        await backend.append(TOPIC, b"%d" % i)
    await backend.truncate(TOPIC, before=2)
    member = await Member(backend).join()
    assert member.positions == {0: 2}
    assert await member.take(3) == [b"2", b"3", b"4"]
    assert ("reset", frozenset({0})) not in member.told
    await member.consumer.stop()


async def test_the_next_member_goes_on_where_the_group_has_committed(backend: LogBackend) -> None:
    """A position is where the group stands, not where a member happened to read."""
    await backend.make_topic(TOPIC)
    for i in range(5):
        await backend.append(TOPIC, b"%d" % i)
    first = await Member(backend).join()
    await first.take(5)
    await first.consumer.commit({place(): 3})
    await first.consumer.stop()
    assert await backend.committed(GROUP, TOPIC) == 3
    second = await Member(backend).join()
    assert second.positions == {0: 3}
    assert await second.take(2) == [b"3", b"4"]
    await second.consumer.stop()


async def test_a_group_beyond_the_end_takes_the_last_records_again(backend: LogBackend) -> None:
    """A log that lost its end to a power loss is read again, and what comes then is not skipped."""
    await backend.make_topic(TOPIC)
    for i in range(5):
        await backend.append(TOPIC, b"%d" % i)
    first = await Member(backend).join()
    await first.take(5)
    await first.consumer.commit({place(): 9})
    await first.consumer.stop()
    second = await Member(backend).join()
    assert second.positions == {0: 9}
    assert await second.take(5) == [b"%d" % i for i in range(5)]
    assert ("reset", frozenset({0})) in second.told
    await backend.append(TOPIC, b"new")
    assert (await second.take(6))[-1] == b"new"
    await second.consumer.stop()


async def test_aborted_records_are_holes(backend: LogBackend) -> None:
    """They are never handed out, keep their offsets, and the position passes them and markers."""
    await backend.make_topic(TOPIC)
    await backend.append(TOPIC, b"before")
    for ending in ("abort", "commit", "abort"):
        transaction = await backend.begin(TOPIC)
        await transaction.append(ending.encode())
        await (transaction.abort() if ending == "abort" else transaction.commit())
    member = await Member(backend).join()
    assert await member.take(2) == [b"before", b"commit"]
    assert [raw.offset for raw in member.taken] == [0, 3]

    async def at_the_end() -> bool:
        await member.poll()
        return member.consumer.position(place()) == 7

    await backend.until(at_the_end)
    assert member.consumer.lag() == {place(): 0}
    await member.consumer.stop()


async def test_an_open_transaction_holds_back_what_comes_after_it(backend: LogBackend) -> None:
    """Nothing behind the first undecided record is handed out until it is decided."""
    await backend.make_topic(TOPIC)
    transaction = await backend.begin(TOPIC)
    await transaction.append(b"undecided")
    await backend.append(TOPIC, b"later")
    member = await Member(backend).join()
    assert await member.poll_for(0.5) == []
    await transaction.commit()
    assert await member.take(2) == [b"undecided", b"later"]
    await member.consumer.stop()


async def test_a_poll_hands_out_no_more_than_asked(backend: LogBackend) -> None:
    """The bound is on all partitions together, and the rest comes with the next poll."""
    await backend.make_topic(TOPIC, partitions=3)
    for i in range(9):
        await backend.append(TOPIC, b"%d" % i, partition=i % 3)
    member = await Member(backend).join()
    sizes: list[int] = []
    while sum(sizes) < 9:
        sizes.append(len(await member.poll(max_records=2)))
    assert max(sizes) == 2
    assert sorted(raw.value or b"" for raw in member.taken) == [b"%d" % i for i in range(9)]
    await member.consumer.stop()


async def test_a_poll_of_an_empty_log_returns_after_its_time(backend: LogBackend) -> None:
    """Nothing came: an empty answer, not an error, not a hang."""
    await backend.make_topic(TOPIC)
    member = await Member(backend).join()
    async with asyncio.timeout(5):
        assert await member.consumer.poll(timeout_s=0.2, max_records=10) == {}
    await member.consumer.stop()


async def test_a_waiting_poll_returns_when_a_record_comes(backend: LogBackend) -> None:
    """It does not wait for its time to be over."""
    await backend.make_topic(TOPIC)
    member = await Member(backend).join()
    poll = asyncio.ensure_future(member.consumer.poll(timeout_s=30, max_records=10))
    await backend.append(TOPIC, b"news")
    async with asyncio.timeout(5):
        polled = await poll
    assert [raw.value for raw in polled[place()]] == [b"news"]
    await member.consumer.stop()


async def test_a_poll_may_be_cancelled_without_losing_records(backend: LogBackend) -> None:
    """A poll that was given up has taken nothing: the next one brings it."""
    await backend.make_topic(TOPIC)
    member = await Member(backend).join()
    for i in range(3):
        poll = asyncio.ensure_future(member.poll(timeout_s=30))
        await asyncio.sleep(0.05)
        poll.cancel()
        await asyncio.gather(poll, return_exceptions=True)
        await backend.append(TOPIC, b"%d" % i)
    assert await member.take(3) == [b"0", b"1", b"2"]
    await member.consumer.stop()


async def test_partitions_are_shared_and_given_back(backend: LogBackend) -> None:
    """A join takes from everybody before it gives; a leave gives all to those who stay."""
    await backend.make_topic(TOPIC, partitions=4)
    first = await Member(backend).join()
    assert first.owned == {0, 1, 2, 3}
    joining = asyncio.ensure_future(Member(backend).join())
    await backend.until(lambda: _polled(first) and joining.done())
    second = joining.result()
    await backend.until(lambda: len(first.told) == 3)
    assert first.owned | second.owned == {0, 1, 2, 3}
    assert first.told == [
        ("assigned", frozenset({0, 1, 2, 3})),
        ("revoked", frozenset({0, 1, 2, 3})),
        ("assigned", frozenset(first.owned)),
    ]
    await second.consumer.stop()
    await backend.until(lambda: len(first.owned) == 4)
    for i in range(4):
        await backend.append(TOPIC, b"%d" % i, partition=i)
    await first.take(4)
    await first.consumer.stop()


def _polled(member: Member) -> bool:
    return bool(member.told)


async def test_who_loses_a_partition_may_still_commit_it(backend: LogBackend) -> None:
    """A commit in ``on_revoked`` is where the next owner goes on."""
    await backend.make_topic(TOPIC)
    for i in range(3):
        await backend.append(TOPIC, b"%d" % i)
    first = await Member(backend).join()
    await first.take(3)
    first.to_commit_on_revoke = {place(): 2}
    second = await Member(backend).join()
    await backend.until(lambda: len(first.told) == 3)
    owner = first if first.owned else second
    assert owner.positions == {0: 2}
    await first.consumer.stop()
    await second.consumer.stop()


async def test_a_paused_partition_hands_out_nothing_and_stays_owned(backend: LogBackend) -> None:
    """Neither the records nor the membership are lost in a pause longer than a session."""
    await backend.make_topic(TOPIC, partitions=2)
    member = await Member(backend).join()
    member.consumer.pause([place(0)])
    await backend.append(TOPIC, b"paused", partition=0)
    await backend.append(TOPIC, b"running", partition=1)
    assert await member.poll_for(backend.session_timeout_s * 1.5) == [b"running"]
    assert member.owned == {0, 1}
    assert [what for what, _ in member.told] == ["assigned"]
    member.consumer.resume([place(0)])
    assert await member.take(2) == [b"running", b"paused"]
    await member.consumer.stop()


async def test_a_member_that_does_not_poll_stays_a_member(backend: LogBackend) -> None:
    """A process whose slots are full does not poll; it must not lose its partitions for that."""
    await backend.make_topic(TOPIC)
    member = await Member(backend).join()
    await asyncio.sleep(backend.session_timeout_s * 1.5)
    assert [what for what, _ in member.told] == ["assigned"]
    await backend.append(TOPIC, b"after")
    assert await member.take(1) == [b"after"]
    await member.consumer.stop()


async def test_a_rebalance_forgets_pauses(backend: LogBackend) -> None:
    """Whoever owns a partition anew gets its records until it pauses it again."""
    await backend.make_topic(TOPIC, partitions=2)
    first = await Member(backend).join()
    first.consumer.pause([place(0), place(1)])
    second = await Member(backend).join()
    await backend.until(lambda: len(first.owned) == 1)
    await second.consumer.stop()
    await backend.until(lambda: len(first.owned) == 2)
    for i in range(2):
        await backend.append(TOPIC, b"%d" % i, partition=i)
    assert sorted(v or b"" for v in await first.take(2)) == [b"0", b"1"]
    await first.consumer.stop()


async def test_a_position_that_fell_out_of_the_log_goes_on_at_its_start(
    backend: LogBackend,
) -> None:
    """The loss is told before the first record behind it, and nothing else is skipped."""
    await backend.make_topic(TOPIC)
    for i in range(3):
        await backend.append(TOPIC, b"%d" % i)
    first = await Member(backend).join()
    await first.take(1)
    await first.consumer.commit({place(): 1})
    await first.consumer.stop()
    for i in range(3, 6):
        await backend.append(TOPIC, b"%d" % i)
    await backend.truncate(TOPIC, before=4)
    second = await Member(backend).join()
    assert await second.take(2) == [b"4", b"5"]
    assert second.told == [("assigned", frozenset({0})), ("reset", frozenset({0}))]
    assert second.positions == {0: 1}
    await second.consumer.stop()


async def test_backlog_names_the_partitions_with_uncommitted_records(backend: LogBackend) -> None:
    """What is committed, or was never written, is no backlog."""
    await backend.make_topic(TOPIC, partitions=3)
    await backend.append(TOPIC, b"committed", partition=0)
    await backend.append(TOPIC, b"left", partition=1)
    await backend.append(TOPIC, b"left", partition=1)
    member = await Member(backend).join()
    await member.take(3)
    await member.consumer.commit({place(0): 1, place(1): 1})
    assert await member.consumer.backlog([place(i) for i in range(3)]) == {place(1): 2}
    await member.consumer.stop()


async def test_lag_is_what_was_not_handed_out(backend: LogBackend) -> None:
    """It counts down as records are handed out, committed or not."""
    await backend.make_topic(TOPIC)
    for i in range(4):
        await backend.append(TOPIC, b"%d" % i)
    member = await Member(backend).join()
    await backend.until(lambda: _at_least_one(member))
    assert member.consumer.lag() == {place(): 4 - len(member.taken)}
    await member.take(4)
    assert member.consumer.lag() == {place(): 0}
    await member.consumer.stop()


async def _at_least_one(member: Member) -> bool:
    await member.poll(max_records=1)
    return bool(member.taken)


async def test_a_consumer_that_has_stopped_owns_nothing(backend: LogBackend) -> None:
    """Nothing is pretended after the end."""
    await backend.make_topic(TOPIC)
    member = await Member(backend).join()
    await member.consumer.stop()
    assert member.consumer.assignment() == frozenset()
    with pytest.raises(Unavailable):
        await member.consumer.commit({TopicPartition(TOPIC, 0): 0})
