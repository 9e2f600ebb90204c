"""One real stack for all tests of this folder: started once, used by many, stopped at the end."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from openai import AsyncOpenAI, OpenAI

from tests.support.kafka_topics import (
    SchemaReader,
    TerminalOf,
    TopicReader,
    TopicWriter,
    topic_reader,
)
from tests.support.stack import RunningStack, running_stack


@pytest.fixture(scope="session")
def stack() -> Iterator[RunningStack]:
    """The stack that all share: ask for prompts of your own, and harm nothing."""
    with running_stack() as running:
        yield running


@pytest.fixture
def client(stack: RunningStack) -> Iterator[OpenAI]:
    """OpenAI's own client, without retries."""
    with stack.openai() as openai:
        yield openai


@pytest.fixture
async def async_client(stack: RunningStack) -> AsyncIterator[AsyncOpenAI]:
    """OpenAI's own asynchronous client, without retries."""
    async with stack.async_openai() as openai:
        yield openai


@pytest.fixture(scope="session")
def results(stack: RunningStack) -> Iterator[TopicReader]:
    """A reader of the results, for the whole session."""
    with topic_reader(stack.kafka, "inference-results") as reader:
        yield reader


@pytest.fixture(scope="session")
def writer(stack: RunningStack) -> TopicWriter:
    """A producer of any bytes."""
    return TopicWriter(stack.kafka)


@pytest.fixture(scope="session")
def terminal_of(stack: RunningStack, results: TopicReader) -> TerminalOf:
    """Waits for the first terminal record of a request."""
    schemas = SchemaReader(stack.addresses["schema_registry"])

    def wait(request_id: str, *, timeout_s: float = 10.0) -> dict[str, Any]:
        found = results.wait_for(
            lambda record: record.key == request_id.encode(), timeout_s=timeout_s
        )
        assert found.value is not None
        return schemas.decode(found.value)

    return wait
