"""Lets a process see how all requests end and which circuits are open."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from services.shared.domain.events import InferenceFinished, ProviderHealth
from services.shared.domain.topics import Topic
from services.shared.stream.background import BackgroundTasks
from services.shared.stream.following import follow_topic
from services.shared.stream.stage import Tools


@asynccontextmanager
async def observing(
    tools: Tools,
    *,
    since_ms: float,
    take_result: Callable[[InferenceFinished], None],
    take_health: Callable[[ProviderHealth], None],
) -> AsyncIterator[None]:
    """Follow ``inference-results`` and ``provider-health`` while the block runs.

    Args:
        tools: The runtime's.
        since_ms: From when on results are told, unix ms; circuits are told from the first on.
        take_result: Told how a request ended.
        take_health: Told that a circuit changed.
    """

    def places(topic: Topic) -> tuple[Topic, int]:
        return topic, tools.outbox.partition_count(topic)

    tasks = BackgroundTasks(on_failure=tools.outbox.give_up)
    tasks.start(
        follow_topic(
            take_health,
            ProviderHealth,
            log=tools.log,
            places=places(Topic.PROVIDER_HEALTH),
            since_ms=0,
        )
    )
    tasks.start(
        follow_topic(
            take_result,
            InferenceFinished,
            log=tools.log,
            places=places(Topic.INFERENCE_RESULTS),
            since_ms=int(since_ms),
        )
    )
    try:
        yield
    finally:
        await tasks.stop()
