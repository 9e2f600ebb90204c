"""On a real Kafka, through Faust: the windows are those of one pass over the topic, to the bit."""

import random
import signal
import time

import pytest
from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition
from confluent_kafka.admin import AdminClient

from tests.support.aggregator import GROUP, RESULTS, Aggregation
from tests.support.kafka_broker import KafkaServer
from tests.support.terminals import answered

pytestmark = pytest.mark.kafka


def rewind(made: Aggregation) -> None:
    """Set the group's committed offsets back to the beginning of every partition."""
    beginning = [TopicPartition(RESULTS, partition, 0) for partition in range(made.partitions)]
    admin = AdminClient({"bootstrap.servers": made.bootstrap})
    request = ConsumerGroupTopicPartitions(GROUP, beginning)
    for future in admin.alter_consumer_group_offsets([request]).values():
        future.result()


def test_kills_and_repetitions_leave_no_trace(made: Aggregation) -> None:
    """Killed with -9 again and again while records come, each restart counts on exactly."""
    moments = random.Random(made.partitions)
    first = 0
    for _ in range(5):
        process = made.start()
        process.until_ready()
        for _ in range(4):
            made.end(150, first=first)
            first += 150
            time.sleep(moments.uniform(0.0, 0.6))  # anywhere in a round
        process.end(signal.SIGKILL)
    made.start()

    made.until_exact()


def test_partitions_that_move_between_processes_are_counted_once(shared: Aggregation) -> None:
    """A process joins, another one is killed, and the first one has all partitions again."""
    shared.start(slot=1).until_ready()
    shared.end(200, first=0)
    first = shared.start()
    first.until_ready()
    for number in range(200, 800, 200):
        shared.end(200, first=number)
        time.sleep(0.7)  # some of it is in a round that does not end
    shared.running[0].end(signal.SIGKILL)
    shared.end(200, first=800)

    shared.until_exact()


def test_rewound_offsets_count_nothing_twice(made: Aggregation) -> None:
    """The table knows what was counted; what the group committed has no say."""
    process = made.start()
    process.until_ready()
    made.end(500, first=0)
    made.until_counted()
    made.leave()
    made.until_left()
    rewind(made)
    process = made.start()
    process.until_ready()
    made.end(200, first=500)

    made.until_exact()


def test_a_lost_table_is_counted_anew_from_the_beginning(single: Aggregation) -> None:
    """Rebuilt from offset 0, the windows are the same as those counted live."""
    process = single.start()
    process.until_ready()
    single.end(600, first=0)
    single.until_counted()
    single.leave()
    single.until_left()
    single.start_over()
    single.start()

    single.until_exact()


def test_more_partitions_count_nothing_twice(single: Aggregation) -> None:
    """The changelog grows with its source; what was counted before stays where it is."""
    process = single.start()
    process.until_ready()
    single.end(300, first=0)
    single.leave()
    single.grow(4)
    process = single.start()
    process.until_ready()
    single.end(300, first=300)

    single.until_exact()


def test_holes_of_transactions_are_read_over(single: Aggregation) -> None:
    """Aborted records do not count, and the offsets of markers hold nothing up."""
    process = single.start()
    process.until_ready()
    single.write_in_transactions(
        answered(number, at_ms=int(time.time() * 1_000)) for number in range(10)
    )

    single.until_exact()


def test_a_killed_broker_loses_no_count(server: KafkaServer, single: Aggregation) -> None:
    """The process waits or ends by itself; whoever runs then counts on."""
    process = single.start()
    process.until_ready()
    single.end(300, first=0)
    server.kill()
    time.sleep(3)  # an outage has a length
    server.start()
    single.end(300, first=300)
    single.keep_running(single.until_counted)

    single.until_exact()
