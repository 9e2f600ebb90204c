"""What each process finds in its environment: what it needs, and no secret of another's."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from services.cli.local_stack.ports import HOST
from services.cli.local_stack.services import Instance
from services.cli.local_stack.state import Layout

_SYSTEM = frozenset(
    (
        "HOME",
        "LANG",
        "LANGUAGE",
        "LD_LIBRARY_PATH",
        "LOGNAME",
        "PATH",
        "REQUESTS_CA_BUNDLE",
        "SSL_CERT_DIR",
        "SSL_CERT_FILE",
        "TEMP",
        "TMP",
        "TMPDIR",
        "TZ",
        "USER",
        "VIRTUAL_ENV",
    )
)
_SYSTEM_PREFIXES = ("LC_", "PYTHON", "COVERAGE_")
_NOT_FOR_SERVICES = "PYTHONDONTWRITEBYTECODE"
"""A service that compiles itself at every start is back from a crash a second later."""

_OWN_PREFIX = "MILLRACE_"
_SECRET_ENDINGS = ("_API_KEY", "_PASSWORD", "_TOKEN")
_TELEMETRY_PREFIX = "OTEL_"
_TELEMETRY_ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
_PROXIES = frozenset(("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY"))


class Surroundings(msgspec.Struct, frozen=True, kw_only=True):
    """What all services of a stack share.

    Attributes:
        layout: The data directory.
        config: Path of the configuration that they read.
        ports: Port by what listens on it (``plan.usual_ports`` names them).
        provider_keys: Environment variables that hold the providers' keys.
        encoder: Folder of the sentence encoder.
    """

    layout: Layout
    config: str
    ports: Mapping[str, int]
    provider_keys: frozenset[str]
    encoder: Path

    def url(self, process: str) -> str:
        """Where a process serves HTTP."""
        return f"http://{HOST}:{self.ports[process]}"


def system_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """What any program needs; the environment of Kafka and Redis."""
    return {
        name: value
        for name, value in environ.items()
        if name in _SYSTEM or (name.startswith(_SYSTEM_PREFIXES) and name != _NOT_FOR_SERVICES)
    }


def python_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """What each of our own processes needs from its very start."""
    return {
        **system_environment(environ),
        "MALLOC_ARENA_MAX": "2",  # glibc's default, 8 a core, keeps tens of MB a process
        "OPENBLAS_NUM_THREADS": "1",  # more of them spin for some 20 ms after each product
    }


def service_environment(
    instance: Instance, surroundings: Surroundings, *, environ: Mapping[str, str]
) -> dict[str, str]:
    """The environment of one service process."""
    return {
        **python_environment(environ),
        **_of_the_user(instance, surroundings.provider_keys, environ),
        **_of_the_stack(instance, surroundings),
    }


def _of_the_user(
    instance: Instance, provider_keys: Iterable[str], environ: Mapping[str, str]
) -> dict[str, str]:
    service = instance.service
    chosen = {_TELEMETRY_ENDPOINT}
    if service.calls_providers:
        chosen.update(provider_keys)
    if service.calls_providers or service.exports_telemetry:
        chosen.update(name for name in environ if name.upper() in _PROXIES)
    if service.exports_telemetry:
        chosen.update(name for name in environ if name.startswith(_TELEMETRY_PREFIX))
    chosen.update(
        name
        for name in environ
        if name.startswith(_OWN_PREFIX) and not name.endswith(_SECRET_ENDINGS)
    )
    return {name: environ[name] for name in chosen if name in environ}


def _of_the_stack(instance: Instance, surroundings: Surroundings) -> dict[str, str]:
    layout, ports = surroundings.layout, surroundings.ports
    shared = {
        "MILLRACE_KAFKA_BOOTSTRAP": f"{HOST}:{ports['kafka']}",
        "MILLRACE_REDIS_URL": f"redis://{HOST}:{ports['redis']}/0",
        "MILLRACE_CONFIG": surroundings.config,
        "MILLRACE_DATA": str(layout.root),
        "MILLRACE_SECRET_FILE": str(layout.secret),
        "MILLRACE_DEV_KEY_FILE": str(layout.dev_key),
        "MILLRACE_SLOT": str(instance.slot),
        "MILLRACE_ENCODER": str(surroundings.encoder),
        "MILLRACE_METRICS_HOST": HOST,
        "MILLRACE_METRICS_PORT": str(ports[probes_of(instance)]),
    }
    if "simulator" in ports:
        shared["MILLRACE_SIMULATOR_URL"] = surroundings.url("simulator")
    if "schema-registry" in ports:
        shared["SCHEMA_REGISTRY_URL"] = surroundings.url("schema-registry")
    if instance.service.usual_port:
        shared[f"{instance.service.variable}_HOST"] = HOST
        shared[f"{instance.service.variable}_PORT"] = str(ports[instance.name])
    return shared


def probes_of(instance: Instance) -> str:
    """Name of the port where an instance answers probes."""
    return f"{instance.name}/probes" if instance.service.has_own_probes else instance.name
