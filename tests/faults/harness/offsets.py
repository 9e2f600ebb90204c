"""Takes consumer groups back in their topics, so that records are delivered again."""

import time
from collections.abc import Iterable, Sequence

from confluent_kafka import ConsumerGroupState, ConsumerGroupTopicPartitions, TopicPartition
from confluent_kafka.admin import AdminClient

from tests.faults.checker.history import Lag

_PATIENCE_S = 30.0
_POLL_S = 0.2


def await_empty(bootstrap: str, groups: Sequence[str]) -> None:
    """Wait until the sessions of all members are over; only then may offsets be changed.

    Raises:
        TimeoutError: Somebody is still there.
    """
    admin = AdminClient({"bootstrap.servers": bootstrap})
    give_up_at_s = time.monotonic() + _PATIENCE_S
    while time.monotonic() < give_up_at_s:
        described = admin.describe_consumer_groups(list(groups)).values()
        if all(each.result(_PATIENCE_S).state == ConsumerGroupState.EMPTY for each in described):
            return
        time.sleep(_POLL_S)
    raise TimeoutError(f"groups still have members: {', '.join(groups)}")


def rewind(bootstrap: str, lags: Iterable[Lag], *, records: int) -> int:
    """Take groups back; returns how many records will be delivered again."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    count = 0
    for lag in lags:
        back = min(records, max(lag.committed, 0))
        place = TopicPartition(lag.topic, lag.partition, max(lag.committed, 0) - back)
        asked = [ConsumerGroupTopicPartitions(lag.group, [place])]
        for altered in admin.alter_consumer_group_offsets(asked).values():
            altered.result(_PATIENCE_S)
        count += back
    return count
