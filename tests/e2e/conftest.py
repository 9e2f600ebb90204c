"""One real stack for all tests of this folder: started once, used by many, stopped at the end."""

from collections.abc import AsyncIterator, Iterator

import pytest
from openai import AsyncOpenAI, OpenAI

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
