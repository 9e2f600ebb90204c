"""A simulator for the tests of this folder."""

from collections.abc import AsyncIterator, Iterator

import pytest
from openai import AsyncOpenAI

from tests.support.simulator import SimulatorProcess, simulator


@pytest.fixture(scope="session")
def running() -> Iterator[SimulatorProcess]:
    """A simulator that all tests share: use prompts of your own."""
    with simulator() as process:
        yield process


@pytest.fixture
async def client(running: SimulatorProcess) -> AsyncIterator[AsyncOpenAI]:
    """OpenAI's own client, without retries."""
    async with AsyncOpenAI(
        base_url=f"{running.url}/v1", api_key="sk-any", max_retries=0, timeout=20
    ) as openai:
        yield openai
