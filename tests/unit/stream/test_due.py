"""Records that wait until they are due."""

import pytest

from services.shared.codec.headers import DUE, headers_of_delay, time_from, turns_from
from services.shared.domain.emit import Delay
from services.shared.stream.client import Raw, TopicPartition
from services.shared.stream.due import NotDue

ONE, TWO = TopicPartition("t", 0), TopicPartition("t", 1)


def record(offset: int, due_ms: int | None, *, partition: int = 0) -> Raw:
    """A record that is due then; None = it does not say."""
    headers = () if due_ms is None else ((DUE, b"%d" % due_ms),)
    return Raw("t", partition, offset, 0, 0, None, b"", None, 0, 0, headers)


def offsets(records: list[Raw]) -> list[tuple[int, int]]:
    """Which records these are."""
    return [(raw.partition, raw.offset) for raw in records]


def test_records_are_taken_in_order_when_they_are_due() -> None:
    """One that waits holds back those behind it, in its partition alone."""
    waiting = NotDue()
    waiting.add({ONE: [record(1, 50), record(2, 90), record(3, 20)]})
    waiting.add({TWO: [record(7, 60, partition=1), record(8, None, partition=1)]})
    assert offsets(list(waiting.take(now_ms=49))) == []
    assert waiting.partitions == {ONE, TWO}
    assert waiting.wait_s(now_ms=49, most_s=1) == pytest.approx(0.001)
    assert offsets(list(waiting.take(now_ms=60))) == [(0, 1), (1, 7), (1, 8)]
    assert waiting.partitions == {ONE}
    assert waiting.wait_s(now_ms=60, most_s=0.02) == 0.02
    assert waiting.wait_s(now_ms=95, most_s=0.02) == 0
    assert offsets(list(waiting.take(now_ms=90))) == [(0, 2), (0, 3)]
    assert waiting.partitions == frozenset()
    assert waiting.wait_s(now_ms=90, most_s=1) == 1


def test_what_waits_is_forgotten_with_its_partitions() -> None:
    """Whoever owns them next reads them again."""
    waiting = NotDue()
    waiting.add({ONE: [record(1, 50)]})
    waiting.clear()
    assert list(waiting.take(now_ms=99)) == []


@pytest.mark.parametrize(
    ("value", "due_ms"), [(None, 0), (b"", 0), (b"12", 12), (b"-1", 0), (b"x", 0), (b"9" * 20, 0)]
)
def test_a_header_that_says_nothing_means_at_once(value: bytes | None, due_ms: int) -> None:
    """A broken header delays nothing."""
    assert time_from(value) == due_ms


@pytest.mark.parametrize(
    ("value", "turns"), [(None, 0), (b"", 0), (b"\0\0\1\0", 256), (b"12345", 0)]
)
def test_turns_are_four_bytes(value: bytes | None, turns: int) -> None:
    """As Spring writes them."""
    assert turns_from(value) == turns


def test_a_delay_comes_back_from_its_headers() -> None:
    """What is written is read."""
    headers = dict(headers_of_delay(Delay(due_ms=1_780_000_000_000, turns=3)))
    assert time_from(headers["millrace-due"]) == 1_780_000_000_000
    assert turns_from(headers["retry_topic-attempts"]) == 3
