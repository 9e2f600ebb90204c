"""What a start of the stack will run: ports, addresses, environments and commands."""

import functools
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec

import services
from services.cli.local_stack import probe
from services.cli.local_stack.environment import (
    Surroundings,
    probes_of,
    service_environment,
    system_environment,
)
from services.cli.local_stack.kafka import Broker, broker_command
from services.cli.local_stack.ports import HOST
from services.cli.local_stack.redis import RedisServer, redis_command
from services.cli.local_stack.services import FIRST_METRICS_PORT, Instance
from services.cli.local_stack.spawning import ProcessSpec
from services.cli.local_stack.state import Layout

KAFKA_PORT = 9092
CONTROLLER_PORT = 9093
REDIS_PORT = 6379
CONTROLLER = "kafka controller"
_JVM_OPTIONS_VARIABLE = "KAFKA_JVM_PERFORMANCE_OPTS"  # Kafka's own scripts read it, too


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a start of the stack runs.

    Attributes:
        layout: The data directory.
        config: File that it serves by.
        partitions: Partitions of each pipeline topic.
        topics_digest: Of the topics' declarations.
        topics_exist: Whether those very topics were made by an earlier start.
        addresses: URL or ``host:port`` by name.
        bootstrap: The broker's ``host:port``.
        kafka: The broker.
        redis: Redis.
        on_path: Services that requests pass through.
        beside: The other services.
        environ: Environment of the process that services are forked from.
    """

    layout: Layout
    config: str
    partitions: int
    topics_digest: str
    topics_exist: bool
    addresses: dict[str, str]
    bootstrap: str
    kafka: ProcessSpec
    redis: ProcessSpec
    on_path: tuple[ProcessSpec, ...]
    beside: tuple[ProcessSpec, ...]
    environ: Mapping[str, str]


def checkout() -> Path:
    """The project's root, from which services run."""
    return Path(services.__path__[0]).resolve().parent


def usual_ports(running: tuple[Instance, ...]) -> dict[str, int]:
    """The port that each name gets if it is free; 0 = any."""
    ports = {"kafka": KAFKA_PORT, CONTROLLER: CONTROLLER_PORT, "redis": REDIS_PORT}
    for number, instance in enumerate(running):
        if instance.service.usual_port:
            ports[instance.name] = 0 if instance.slot else instance.service.usual_port
        ports.setdefault(probes_of(instance), FIRST_METRICS_PORT + number)
    return ports


def addresses(running: tuple[Instance, ...], ports: Mapping[str, int]) -> dict[str, str]:
    """What is served where, for people and programs."""
    served = {
        "kafka": f"{HOST}:{ports['kafka']}",
        "redis": f"redis://{HOST}:{ports['redis']}/0",
    }
    for instance in running:
        if instance.name in ports:
            name = instance.name.replace("-", "_")
            served[name] = f"http://{HOST}:{ports[instance.name]}"
    if "gateway" in served:
        served["openai"] = f"{served['gateway']}/v1"
    return served


def kafka_process(
    broker: Broker, *, layout: Layout, jvm_options: tuple[str, ...], environ: Mapping[str, str]
) -> ProcessSpec:
    """How the broker runs. Its own readiness is that it listens: it does so when it can serve."""
    asked_for = environ.get(_JVM_OPTIONS_VARIABLE, "").split()
    return ProcessSpec(
        name="kafka",
        command=broker_command(broker, jvm_options=(*jvm_options, *asked_for)),
        environ=system_environment(environ),
        folder=broker.folder,
        log=layout.log_of("kafka"),
        is_ready=functools.partial(probe.accepts_connections, broker.port, host=HOST),
        orphan_signal=signal.SIGTERM,
    )


def redis_process(
    server: RedisServer, *, port: int, layout: Layout, environ: Mapping[str, str]
) -> ProcessSpec:
    """How Redis runs."""
    return ProcessSpec(
        name="redis",
        command=redis_command(server, port=port, folder=layout.redis),
        environ=system_environment(environ),
        folder=layout.redis,
        log=layout.log_of("redis"),
        is_ready=functools.partial(probe.redis_answers, port, host=HOST),
        orphan_signal=signal.SIGTERM,
    )


def service_process(
    instance: Instance, surroundings: Surroundings, *, environ: Mapping[str, str]
) -> ProcessSpec:
    """How one process of a service runs."""
    probes = surroundings.url(probes_of(instance))
    return ProcessSpec(
        name=instance.name,
        command=(sys.executable, "-m", instance.service.module),
        module=instance.service.module,
        environ=service_environment(instance, surroundings, environ=environ),
        folder=checkout(),
        log=surroundings.layout.log_of(instance.name),
        is_ready=functools.partial(probe.is_ready, probes),
        probes=probes,
    )
