"""The aggregator as a process: its start, its probes, its dead letters, its end."""

import signal
import time
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType

from services.cli.local_stack.ports import free_port
from services.shared.domain.topics import dead_letters
from tests.support.aggregator import CHANGELOG, RESULTS, Aggregation, Aggregator, aggregation, until
from tests.support.kafka_broker import KafkaServer
from tests.support.terminals import answered

pytestmark = pytest.mark.kafka


def now_ms() -> int:
    """Unix ms."""
    return int(time.time() * 1_000)


def test_it_waits_for_kafka_and_for_its_topic(server: KafkaServer, tmp_path: Path) -> None:
    """Started before anything else, it is alive but not ready, and folds once it can."""
    server.stop()
    early = Aggregator(server.bootstrap, tmp_path)
    try:
        until(lambda: early.probe("/livez")[0] == 200, "it is not alive")
        assert early.probe("/readyz")[0] == 503
        server.start()
        with aggregation(server.bootstrap, tmp_path, partitions=1) as made:
            early.until_ready()
            made.running.append(early)
            made.write([answered(1, at_ms=now_ms())])
            made.until_counted()
    finally:
        early.close()


def test_it_ends_in_order_while_kafka_is_away(tmp_path: Path) -> None:
    """Nobody has to kill it."""
    process = Aggregator(f"127.0.0.1:{free_port()}", tmp_path)
    try:
        until(lambda: process.probe("/livez")[0] == 200, "it is not alive")
        code, seconds = process.end()
    finally:
        process.close()

    assert (code, seconds < 10) == (0, True)


@pytest.mark.patient
def test_it_ends_in_order_in_the_middle_of_an_outage(
    server: KafkaServer, single: Aggregation
) -> None:
    """What it could not write is counted by the next process."""
    process = single.start()
    process.until_ready()
    single.write(answered(number, at_ms=now_ms()) for number in range(50))
    server.kill()
    _, seconds = process.end()
    assert seconds < 10

    server.start()
    single.start()
    single.until_exact()


def test_what_it_folded_is_written_before_it_ends(single: Aggregation) -> None:
    """A new process has nothing to count again."""
    process = single.start()
    process.until_ready()
    single.write(answered(number, at_ms=now_ms()) for number in range(50))
    until(lambda: 'aggregated_records_total{verdict="counted"} 50.0' in text(process), "not yet")
    single.leave()
    process = single.start()
    process.until_ready()

    single.until_exact()
    newest = single.running[-1]
    newest.until_ready()
    assert 'aggregated_records_total{verdict="counted"} 0.0' in text(newest)


def test_a_record_that_is_no_record_is_kept_as_a_dead_letter(single: Aggregation) -> None:
    """Once, as it was, and what comes behind it is counted."""
    process = single.start()
    process.until_ready()
    single.write([answered(1, at_ms=now_ms())])
    single.write_raw(b"\x00\x00\x00\x00\x06 not a terminal record")
    single.write([answered(2, at_ms=now_ms())])

    single.until_exact()
    (letter,) = single.read(dead_letters(RESULTS))
    assert letter.value == b"\x00\x00\x00\x00\x06 not a terminal record"
    assert dict(letter.headers)["kafka_dlt-original-topic"] == RESULTS.encode()


def test_tombstones_hold_nothing_up(single: Aggregation) -> None:
    """A record without a value means nothing on this topic."""
    process = single.start()
    process.until_ready()
    single.write_raw(None)
    single.write([answered(1, at_ms=now_ms())])

    single.until_exact()
    assert single.read(dead_letters(RESULTS)) == []


def test_it_says_how_far_it_is(single: Aggregation) -> None:
    """Lag, records and verdicts are there for Prometheus."""
    process = single.start()
    process.until_ready()
    single.write(answered(1, at_ms=now_ms()) for _ in range(3))
    lag = f'millrace_consumer_lag_records{{partition="0",topic="{RESULTS}"}} 0.0'
    until(lambda: 'verdict="duplicate"} 2.0' in text(process) and lag in text(process), "not yet")
    single.until_counted()

    assert f'millrace_processed_records_total{{topic="{RESULTS}"}} 3.0' in text(process)


def test_the_changelog_is_compacted_and_as_wide_as_its_source(made: Aggregation) -> None:
    """It is made by the service itself, as brokers make none of their own accord."""
    made.start().until_ready()

    assert len(made.topic(CHANGELOG).partitions) == made.partitions
    resource = ConfigResource(ResourceType.TOPIC, CHANGELOG)
    admin = AdminClient({"bootstrap.servers": made.bootstrap})
    (described,) = admin.describe_configs([resource]).values()
    assert described.result()["cleanup.policy"].value == "compact"


def test_a_source_that_was_made_anew_is_not_counted_on_an_old_table(single: Aggregation) -> None:
    """Offsets begin again, so the table would take its records for old ones; it says the remedy."""
    process = single.start()
    process.until_ready()
    single.write(answered(number, at_ms=now_ms()) for number in range(20))
    single.until_counted()
    single.leave()
    single.make_anew(RESULTS)
    process = single.start()
    until(lambda: process.exit_code is not None, "it goes on")

    assert process.exit_code == 78
    assert "Remove the changelog" in process.log


def test_one_slot_is_one_process(single: Aggregation, tmp_path: Path) -> None:
    """A second process of the same slot is refused instead of sharing a membership."""
    single.start().until_ready()
    second = Aggregator(single.bootstrap, tmp_path)
    try:
        until(lambda: second.exit_code is not None, "it runs")
        assert second.exit_code == 78
    finally:
        second.close()


def test_a_killed_process_is_replaced_within_seconds(single: Aggregation) -> None:
    """Its static membership is taken over at once; nobody waits for a session to end."""
    single.start().until_ready()
    single.running[-1].end(signal.SIGKILL)
    single.write([answered(1, at_ms=now_ms())])

    assert single.start().until_ready() < 9
    single.until_exact()


def text(process: Aggregator) -> str:
    """Its metrics."""
    return process.probe("/metrics")[1]
