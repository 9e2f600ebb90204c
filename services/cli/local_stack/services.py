"""The services that the local stack runs, as a table."""

import msgspec

from services.cli.errors import CommandError

FIRST_METRICS_PORT = 9464
LOCAL_MODELS = "local-models"
"""Runs only where the configuration names it."""


class Service(msgspec.Struct, frozen=True, kw_only=True):
    """How a service takes part in the local stack.

    Attributes:
        name: Its name everywhere: consumer group, telemetry, this table.
        module: What ``python -m`` runs.
        on_path: Whether requests pass through it: it starts first, and the stack is ready when
            all of these are.
        scalable: Whether several instances may run side by side.
        usual_port: The port that it serves; 0 = none but its probes.
        variable: Beginning of the variables that name its address and port.
        has_own_probes: Whether its probes are on a port of their own.
        calls_providers: Whether it gets the providers' keys and the proxy settings.
        exports_telemetry: Whether it gets the exporter's settings, credentials included.
    """

    name: str
    module: str
    on_path: bool = False
    scalable: bool = False
    usual_port: int = 0
    variable: str = ""
    has_own_probes: bool = True
    calls_providers: bool = False
    exports_telemetry: bool = False


SERVICES = (
    Service(
        name="gateway",
        module="services.gateway",
        on_path=True,
        scalable=True,
        usual_port=8080,
        variable="MILLRACE_GATEWAY",
    ),
    Service(name="cache-lookup", module="services.cache_lookup", on_path=True, scalable=True),
    Service(name="router", module="services.router", on_path=True, scalable=True),
    Service(name="batcher", module="services.batcher", on_path=True, scalable=True),
    Service(
        name="model-caller",
        module="services.model_caller",
        on_path=True,
        scalable=True,
        calls_providers=True,
    ),
    Service(
        name="simulator",
        module="services.simulator",
        on_path=True,
        usual_port=8090,
        variable="MILLRACE_SIMULATOR",
        has_own_probes=False,
    ),
    Service(name="cache-writer", module="services.cache_writer", scalable=True),
    Service(name="metrics-aggregator", module="services.metrics_aggregator"),
    Service(name="trace-exporter", module="services.trace_exporter", exports_telemetry=True),
    Service(
        name="schema-registry",
        module="services.schema_registry",
        usual_port=8081,
        variable="MILLRACE_REGISTRY",
    ),
    Service(
        name=LOCAL_MODELS,
        module="services.local_models",
        on_path=True,
        scalable=True,
        usual_port=8091,
        variable="MILLRACE_LOCAL_MODELS",
        has_own_probes=False,
    ),
)


class Instance(msgspec.Struct, frozen=True, kw_only=True):
    """One process of a service.

    Attributes:
        service: Which service.
        slot: Its ordinal among the instances of the service, from 0.
    """

    service: Service
    slot: int

    @property
    def name(self) -> str:
        """The service's name, with the slot where that is not 0."""
        return f"{self.service.name}-{self.slot}" if self.slot else self.service.name


def instances(services: tuple[Service, ...], *, scale: dict[str, int]) -> tuple[Instance, ...]:
    """Every process to run.

    Args:
        services: The table.
        scale: Number of instances by service, where it is not one.

    Raises:
        CommandError: A service does not exist, or cannot have that many instances.
    """
    by_name = {service.name: service for service in services}
    for name, count in scale.items():
        service = by_name.get(name)
        if service is None:
            raise CommandError(f"There is no service '{name}'. Known: {', '.join(by_name)}.")
        if count < 1 or (count > 1 and not service.scalable):
            possible = "1 or more" if service.scalable else "exactly 1"
            raise CommandError(f"{name} can have {possible} instances, not {count}.")
    return tuple(
        Instance(service=service, slot=slot)
        for service in services
        for slot in range(scale.get(service.name, 1))
    )


def parse_scale(texts: list[str]) -> dict[str, int]:
    """Read ``SERVICE=N``, as often as given.

    Raises:
        CommandError: One has not that form.
    """
    scale = {}
    for text in texts:
        name, equals, count = text.partition("=")
        if not (equals and count.isdecimal() and len(count) < 5):
            raise CommandError(f"--scale {text}: write SERVICE=N, e.g. --scale model-caller=2.")
        scale[name.replace("_", "-")] = int(count)
    return scale
