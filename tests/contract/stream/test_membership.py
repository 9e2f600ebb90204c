"""What a consumer knows of its standing in the group, and how a group survives its members."""

import asyncio

import pytest

from services.shared.domain.errors import Unavailable
from tests.contract.stream.members import TOPIC, Member, place
from tests.support.log_backend import LogBackend


async def test_heartbeats_confirm_a_membership_without_a_poll(backend: LogBackend) -> None:
    """``confirmed_at_s`` moves on several times a session, whatever the owner does."""
    await backend.make_topic(TOPIC)
    member = await Member(backend).join()
    membership = member.consumer.membership
    for _ in range(3):
        seen_s = membership.confirmed_at_s
        while membership.confirmed_at_s <= seen_s:
            await asyncio.sleep(0.02)
            assert backend.clock.monotonic_s() - seen_s < backend.session_timeout_s / 2
    assert backend.clock.monotonic_s() >= membership.confirmed_at_s
    assert not membership.is_lost
    await member.consumer.stop()


async def test_a_forgotten_member_learns_that_it_is_lost(backend: LogBackend) -> None:
    """The next heartbeat says so, for good, even though the client joins anew by itself."""
    await backend.make_topic(TOPIC)
    member = await Member(backend).join()
    await backend.forget_member(member.consumer)
    await backend.until(
        lambda: member.consumer.membership.is_lost, timeout_s=backend.session_timeout_s
    )
    await backend.until(lambda: ("revoked", frozenset({0})) in member.told)
    await backend.until(lambda: member.told[-1] == ("assigned", frozenset({0})))
    assert member.consumer.membership.is_lost
    await member.consumer.stop()


async def test_a_rebalance_is_no_loss(backend: LogBackend) -> None:
    """A member that gives partitions to a newcomer is in good standing, confirmed by the join."""
    await backend.make_topic(TOPIC, partitions=2)
    first = await Member(backend).join()
    joined_s = first.consumer.membership.confirmed_at_s
    await asyncio.sleep(0.1)
    second = await Member(backend).join()
    await backend.until(lambda: len(first.owned) == 1)
    assert first.consumer.membership.confirmed_at_s > joined_s
    assert not first.consumer.membership.is_lost
    await first.consumer.stop()
    await second.consumer.stop()


async def test_a_killed_members_partitions_go_to_others_after_a_session(
    backend: LogBackend,
) -> None:
    """Nobody reads them before, since nobody knows that it is dead; then somebody does."""
    await backend.make_topic(TOPIC, partitions=2)
    first = await Member(backend).join()
    second = await Member(backend).join()
    await backend.until(lambda: len(first.owned) == 1)
    killed_s = backend.clock.monotonic_s()
    first.log.kill()
    await backend.until(lambda: second.owned == {0, 1})
    took_s = backend.clock.monotonic_s() - killed_s
    assert backend.session_timeout_s * 0.5 < took_s < backend.session_timeout_s * 2.5
    await second.consumer.stop()


async def test_a_static_member_that_comes_back_has_its_partitions_at_once(
    backend: LogBackend,
) -> None:
    """A killed and restarted process waits for no session and disturbs no one."""
    await backend.make_topic(TOPIC, partitions=2)
    first = await Member(backend, instance_id="a").join()
    other = await Member(backend, instance_id="b").join()
    await backend.until(lambda: len(first.owned) == 1)
    theirs, told = first.owned, len(other.told)
    await first.consumer.commit({place(number): 0 for number in theirs})
    first.log.kill()
    killed_s = backend.clock.monotonic_s()
    again = await Member(backend, instance_id="a").join()
    assert again.owned == theirs
    assert backend.clock.monotonic_s() - killed_s < backend.session_timeout_s / 2
    assert len(other.told) == told
    await backend.append(TOPIC, b"for the one who came back", partition=min(theirs))
    await again.take(1)
    await again.consumer.stop()
    await other.consumer.stop()


async def test_a_static_member_that_stops_keeps_its_place_for_a_session(
    backend: LogBackend,
) -> None:
    """A rolling restart rebalances nobody; a member that is gone for good is replaced."""
    await backend.make_topic(TOPIC, partitions=2)
    first = await Member(backend, instance_id="a").join()
    other = await Member(backend, instance_id="b").join()
    await backend.until(lambda: len(first.owned) == 1)
    told = len(other.told)
    await first.consumer.stop()
    await asyncio.sleep(backend.session_timeout_s / 4)
    assert len(other.told) == told
    await backend.until(lambda: other.owned == {0, 1})
    await other.consumer.stop()


async def test_of_two_with_one_name_the_older_one_is_lost(backend: LogBackend) -> None:
    """Both read on; only the membership tells the older one that it must not write."""
    await backend.make_topic(TOPIC)
    older = await Member(backend, instance_id="a").join()
    newer = await Member(backend, instance_id="a").join()
    assert newer.owned == {0}
    await backend.until(
        lambda: older.consumer.membership.is_lost, timeout_s=backend.session_timeout_s
    )
    older.log.kill()  # as the fence would
    await newer.consumer.stop()


async def test_a_member_that_was_replaced_cannot_commit(backend: LogBackend) -> None:
    """Its commit is refused, so it cannot move the offsets of who came after it."""
    await backend.make_topic(TOPIC)
    await backend.append(TOPIC, b"0")
    older = await Member(backend, instance_id="a").join()
    await older.take(1)
    newer = await Member(backend, instance_id="a").join()
    with pytest.raises(Unavailable):
        await older.consumer.commit({place(): 1})
    older.log.kill()
    assert newer.positions == {0: 0}
    await newer.consumer.stop()
