"""Administration of a Kafka cluster: waiting for it, and the topics as they are declared."""

import time
from collections.abc import Mapping
from typing import Any

import msgspec
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourceType,
)

from services.shared.codec.topics import TopicSpec, dead_letter_config
from services.shared.domain.errors import InvalidConfiguration, Unavailable
from services.shared.stream.quiet_client import BrokerTrouble

_ATTEMPT_S = 2.0
_APPLY_S = 30.0
FIXED_PARTITIONS = frozenset({"result-chunks", "crash-suspects"})
"""Topics whose partition count is part of a protocol: reply partitions, one log of suspects."""


def wait_until_ready(bootstrap: str, *, timeout_s: float) -> None:
    """Return once a broker answers with the cluster's metadata.

    Args:
        bootstrap: ``host:port`` of a broker.
        timeout_s: Longest wait, in seconds.

    Raises:
        Unavailable: None answered in that time. Retriable.
    """
    client = AdminClient(
        {
            "bootstrap.servers": bootstrap,
            "reconnect.backoff.ms": 50,
            "reconnect.backoff.max.ms": 100,
            "log_level": 0,  # refused connections are what we wait out, not news
        }
    )
    give_up_at_s = time.monotonic() + timeout_s
    while True:
        left_s = give_up_at_s - time.monotonic()
        try:
            client.list_topics(timeout=max(0.1, min(_ATTEMPT_S, left_s)))
        except KafkaException as error:
            if time.monotonic() >= give_up_at_s:
                why = f"no answer from {bootstrap} in {timeout_s:g} s"
                raise Unavailable("Kafka", why) from error
        else:
            return


class TopicState(msgspec.Struct, frozen=True, kw_only=True):
    """A topic as the cluster has it, or as it is wanted.

    Attributes:
        name: Its name.
        partitions: Its partition count.
        config: The settings that are declared for it.
    """

    name: str
    partitions: int
    config: dict[str, str]


class TopicChange(msgspec.Struct, frozen=True, kw_only=True):
    """What has to happen so that the cluster has a topic as wanted.

    Attributes:
        wanted: The topic as declared.
        action: ``create``, ``grow``, ``configure`` or ``none``.
        detail: What differs, for people.
    """

    wanted: TopicState
    action: str
    detail: str = ""


def wanted_topics(
    specs: Mapping[str, TopicSpec], *, partitions: int | None = None
) -> list[TopicState]:
    """Every declared topic and its dead-letter topic.

    Args:
        specs: ``topics/*.yaml`` by name.
        partitions: Count instead of the declared one, for the local stack.
    """
    wanted = []
    for name, spec in specs.items():
        count = spec.partitions
        if partitions is not None and name not in FIXED_PARTITIONS:
            count = partitions
        wanted.append(TopicState(name=name, partitions=count, config=spec.config))
        if spec.dlq:
            wanted.append(
                TopicState(name=spec.dlq, partitions=count, config=dead_letter_config(spec))
            )
    return wanted


def plan_changes(wanted: list[TopicState], existing: Mapping[str, TopicState]) -> list[TopicChange]:
    """Compare what is declared with what is there.

    Raises:
        InvalidConfiguration: A topic has more partitions than declared (they cannot shrink), or
            fewer (requests in flight would change their partition).
    """
    changes = []
    for topic in wanted:
        there = existing.get(topic.name)
        if there is None:
            changes.append(TopicChange(wanted=topic, action="create"))
            continue
        if there.partitions != topic.partitions:
            raise InvalidConfiguration(
                f"topic {topic.name} has {there.partitions} partitions, {topic.partitions} are "
                "wanted; a request's partition follows from the count, so it never changes in "
                f"place. Ask for {there.partitions}, or start on an empty cluster"
            )
        differs = {k: v for k, v in topic.config.items() if there.config.get(k) != v}
        detail = ", ".join(f"{k}: {there.config.get(k)} -> {v}" for k, v in differs.items())
        action = "configure" if differs else "none"
        changes.append(TopicChange(wanted=topic, action=action, detail=detail))
    return changes


def read_topics(
    bootstrap: str, names: list[str], *, options: Mapping[str, Any] | None = None
) -> dict[str, TopicState]:
    """Read those of the named topics that the cluster has.

    Args:
        bootstrap: ``host:port`` pairs of brokers.
        names: The topics.
        options: Further settings of librdkafka, e.g. for SASL and TLS.

    Raises:
        Unavailable: No broker answers. Retriable.
    """
    client, trouble = admin_client(bootstrap, options)
    try:
        there = client.list_topics(timeout=_APPLY_S).topics
        present = [name for name in names if name in there]
        resources = [ConfigResource(ResourceType.TOPIC, name) for name in present]
        futures = client.describe_configs(resources, request_timeout=_APPLY_S) if present else {}
        configs = {resource.name: future.result() for resource, future in futures.items()}
    except KafkaException as error:
        raise trouble.unavailable(error, client) from error
    return {
        name: TopicState(
            name=name,
            partitions=len(there[name].partitions),
            config={key: str(entry.value) for key, entry in configs[name].items()},
        )
        for name in present
    }


def apply_topics(
    bootstrap: str,
    specs: Mapping[str, TopicSpec],
    *,
    partitions: int | None = None,
    replication: int = 1,
    options: Mapping[str, Any] | None = None,
) -> list[TopicChange]:
    """Create what is missing and set what differs; idempotent; never shrinks, never surprises.

    Args:
        bootstrap: ``host:port`` pairs of brokers.
        specs: The declared topics.
        partitions: Count instead of the declared one, for the local stack.
        replication: Replicas of a new topic.
        options: Further settings of librdkafka, e.g. for SASL and TLS.

    Raises:
        InvalidConfiguration: A topic has another partition count.
        Unavailable: No broker answers. Retriable.
    """
    wanted = wanted_topics(specs, partitions=partitions)
    names = [topic.name for topic in wanted]
    changes = plan_changes(wanted, read_topics(bootstrap, names, options=options))
    create = [
        NewTopic(
            change.wanted.name,
            num_partitions=change.wanted.partitions,
            replication_factor=replication,
            config=change.wanted.config,
        )
        for change in changes
        if change.action == "create"
    ]
    configure = [
        ConfigResource(
            ResourceType.TOPIC,
            change.wanted.name,
            incremental_configs=[
                ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET)
                for key, value in change.wanted.config.items()
            ],
        )
        for change in changes
        if change.action == "configure"
    ]
    client, trouble = admin_client(bootstrap, options)
    try:
        if create:
            _settle(client.create_topics(create, request_timeout=_APPLY_S))
        if configure:
            _settle(client.incremental_alter_configs(configure, request_timeout=_APPLY_S))
    except KafkaException as error:
        raise trouble.unavailable(error, client) from error
    return changes


def admin_client(
    bootstrap: str, options: Mapping[str, Any] | None = None
) -> tuple[AdminClient, BrokerTrouble]:
    """An administration client, and what its brokers complain of.

    Args:
        bootstrap: ``host:port`` pairs of brokers.
        options: Further settings of librdkafka, e.g. for SASL and TLS.
    """
    trouble = BrokerTrouble()
    settings = {"bootstrap.servers": bootstrap, **trouble.settings, **(options or {})}
    return AdminClient(settings), trouble


def _settle(futures: Mapping[Any, Any]) -> None:
    for future in futures.values():
        try:
            future.result()
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise
