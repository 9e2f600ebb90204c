"""The changelog topic of a Faust table: as many partitions and replicas as its source."""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from services.shared.domain.errors import InvalidConfiguration, Unavailable
from services.shared.stream.kafka_connection import KafkaConnection

CHANGELOG_CONFIG: Final[Mapping[str, str]] = {
    "cleanup.policy": "compact",
    # Small segments, cleaned soon: the length of the changelog is the time that a start takes.
    "segment.bytes": str(16 * 1024 * 1024),
    "segment.ms": str(3_600_000),
    "min.cleanable.dirty.ratio": "0.1",
    # A process that lost the partition for longer reads it anew anyway.
    "delete.retention.ms": str(86_400_000),
    "max.message.bytes": str(8 * 1024 * 1024),
}
_TIMEOUT_S = 20.0


async def prepare_changelog(connection: KafkaConnection, *, source: str, changelog: str) -> int:
    """Create the changelog, or let it grow with its source.

    Returns:
        Partitions of the source.

    Raises:
        Unavailable: No broker answers, or the source does not exist yet. Retriable.
        InvalidConfiguration: The source has fewer partitions than the changelog: it is another
            one than before. Not retriable.
    """
    admin = AIOKafkaAdminClient(**connection.options())
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            await admin.start()
            return await _prepare(admin, source, changelog)
    except (KafkaError, TimeoutError) as error:
        raise Unavailable("kafka", repr(error)) from error
    finally:
        await admin.close()


async def _prepare(admin: AIOKafkaAdminClient, source: str, changelog: str) -> int:
    described = {
        topic["topic"]: topic for topic in await admin.describe_topics([source, changelog])
    }
    wanted = described[source]["partitions"]
    if described[source]["error_code"] or not wanted:
        raise Unavailable("kafka", f"there is no topic {source} yet")
    there = described[changelog]["partitions"] if not described[changelog]["error_code"] else []
    if not there:
        await _create(admin, changelog, wanted)
    elif len(there) < len(wanted):
        _settle(await admin.create_partitions({changelog: NewPartitions(total_count=len(wanted))}))
    elif len(there) > len(wanted):
        raise InvalidConfiguration(
            f"{source} has {len(wanted)} partitions and {changelog} {len(there)}: the source was "
            f"made anew. Remove {changelog} to count from the source's beginning"
        )
    return len(wanted)


async def _create(admin: AIOKafkaAdminClient, changelog: str, like: Any) -> None:
    topic = NewTopic(
        changelog,
        num_partitions=len(like),
        replication_factor=len(like[0]["replicas"]),
        topic_configs=dict(CHANGELOG_CONFIG),
    )
    _settle(await admin.create_topics([topic]))


def _settle(response: Any) -> None:
    for error in response.topic_errors:
        code = error[1]
        if code not in (0, TopicAlreadyExistsError.errno):
            raise for_code(code)(f"{error[0]}: {error[2:]}")
