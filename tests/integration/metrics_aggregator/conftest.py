"""A broker of one's own for each test: the topics have fixed names."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.aggregator import Aggregation, aggregation
from tests.support.kafka_broker import KafkaServer, kafka_server


@pytest.fixture
def server() -> Iterator[KafkaServer]:
    """A broker that the test may kill."""
    with kafka_server() as running:
        yield running


@pytest.fixture(params=[1, 4], ids=["one-partition", "four-partitions"])
def made(
    request: pytest.FixtureRequest, server: KafkaServer, tmp_path: Path
) -> Iterator[Aggregation]:
    """The topics, in one partition each and in four."""
    with aggregation(server.bootstrap, tmp_path, partitions=request.param) as running:
        yield running


@pytest.fixture
def single(server: KafkaServer, tmp_path: Path) -> Iterator[Aggregation]:
    """The topics, in one partition each."""
    with aggregation(server.bootstrap, tmp_path, partitions=1) as running:
        yield running


@pytest.fixture
def shared(server: KafkaServer, tmp_path: Path) -> Iterator[Aggregation]:
    """The topics, in four partitions each, for several processes."""
    with aggregation(server.bootstrap, tmp_path, partitions=4) as running:
        yield running
