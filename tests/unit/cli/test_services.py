"""The table of services, and what each process finds in its environment."""

import importlib.util
from pathlib import Path

import pytest

from services.cli.errors import CommandError
from services.cli.local_stack.environment import (
    Surroundings,
    service_environment,
    system_environment,
)
from services.cli.local_stack.plan import addresses, usual_ports
from services.cli.local_stack.services import SERVICES, Instance, instances, parse_scale
from services.cli.local_stack.state import Layout

BY_NAME = {service.name: service for service in SERVICES}
SECRETS = {
    "OPENAI_API_KEY": "secret",
    "OTHER_KEY": "secret",
    "UNNAMED_API_KEY": "secret",
    "MILLRACE_SOME_API_KEY": "secret",
    "AWS_SECRET_ACCESS_KEY": "secret",
}


@pytest.mark.parametrize("name", BY_NAME)
def test_every_service_of_the_table_exists(name: str) -> None:
    """``python -m`` finds what the table names."""
    assert importlib.util.find_spec(f"{BY_NAME[name].module}.__main__") is not None


def test_instances_are_named_by_service_and_slot() -> None:
    """The first one has the plain name, whatever the number."""
    running = instances(SERVICES, scale={"router": 3})
    assert len(running) == len(SERVICES) + 2
    routers = [i for i in running if i.service.name == "router"]
    assert [(i.name, i.slot) for i in routers] == [("router", 0), ("router-1", 1), ("router-2", 2)]


@pytest.mark.parametrize(
    ("scale", "why"),
    [
        ({"rooter": 2}, "no service 'rooter'"),
        ({"router": 0}, "1 or more instances, not 0"),
        ({"simulator": 2}, "exactly 1 instances, not 2"),
    ],
)
def test_an_impossible_scale_is_refused(scale: dict[str, int], why: str) -> None:
    """The message names the service and what it can have."""
    with pytest.raises(CommandError, match=why):
        instances(SERVICES, scale=scale)


def test_scale_is_read_from_the_command_line() -> None:
    """Folder names are understood as well as service names."""
    assert parse_scale(["model_caller=2", "router=3"]) == {"model-caller": 2, "router": 3}


@pytest.mark.parametrize("text", ["router", "router=", "router=two", "router=-1", "router=99999"])
def test_a_malformed_scale_is_refused(text: str) -> None:
    """The message shows the form."""
    with pytest.raises(CommandError, match="write SERVICE=N"):
        parse_scale([text])


def environment(name: str, environ: dict[str, str], *, slot: int = 0) -> dict[str, str]:
    """The environment of a process of the whole table."""
    running = instances(SERVICES, scale={"router": 2, "gateway": 2})
    ports = {process: 20_000 + n for n, process in enumerate(usual_ports(running))}
    surroundings = Surroundings(
        layout=Layout(Path("/data")),
        config="/data/millrace.yaml",
        ports=ports,
        provider_keys=frozenset({"OPENAI_API_KEY", "OTHER_KEY"}),
        encoder=Path("/encoder"),
    )
    instance = Instance(service=BY_NAME[name], slot=slot)
    return service_environment(instance, surroundings, environ=environ)


@pytest.mark.parametrize("name", BY_NAME)
def test_only_the_model_caller_gets_the_providers_keys(name: str) -> None:
    """It gets those that the configuration names; no other process gets any secret."""
    found = {key for key in environment(name, SECRETS) if key in SECRETS}
    assert found == ({"OPENAI_API_KEY", "OTHER_KEY"} if name == "model-caller" else set())


def test_proxies_reach_those_who_call_out_in_either_spelling() -> None:
    """The model caller calls providers, the trace exporter a collector."""
    proxies = {"HTTPS_PROXY": "http://p", "no_proxy": "localhost"}
    for name in BY_NAME:
        given = (
            {key: environment(name, proxies)[key] for key in proxies}
            if (name in {"model-caller", "trace-exporter"})
            else {}
        )
        assert {k: v for k, v in environment(name, proxies).items() if k in proxies} == given


def test_the_exporters_credentials_reach_the_exporter_alone() -> None:
    """Others only know that there is a collector."""
    otel = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c",
        "OTEL_EXPORTER_OTLP_HEADERS": "authorization=secret",
    }
    assert otel.items() <= environment("trace-exporter", otel).items()
    assert "OTEL_EXPORTER_OTLP_HEADERS" not in environment("router", otel)
    assert environment("router", otel)["OTEL_EXPORTER_OTLP_ENDPOINT"] == "http://c"


def test_the_stacks_own_settings_win_over_inherited_ones() -> None:
    """A variable left over from elsewhere cannot point a process at another stack."""
    inherited = {"MILLRACE_DATA": "/elsewhere", "MILLRACE_LOG_LEVEL": "debug"}
    found = environment("router", inherited, slot=1)
    assert found["MILLRACE_DATA"] == "/data"
    assert found["MILLRACE_LOG_LEVEL"] == "debug"
    assert found["MILLRACE_SLOT"] == "1"


def test_each_process_learns_its_own_port_and_where_the_others_are() -> None:
    """Instances of one service have ports of their own."""
    first, second = environment("gateway", {}), environment("gateway", {}, slot=1)
    assert first["MILLRACE_GATEWAY_PORT"] != second["MILLRACE_GATEWAY_PORT"]
    assert first["MILLRACE_METRICS_PORT"] != second["MILLRACE_METRICS_PORT"]
    simulator = environment("simulator", {})
    assert first["MILLRACE_SIMULATOR_URL"].endswith(f":{simulator['MILLRACE_SIMULATOR_PORT']}")
    registry = environment("schema-registry", {})
    assert first["SCHEMA_REGISTRY_URL"].endswith(f":{registry['MILLRACE_REGISTRY_PORT']}")
    assert "MILLRACE_GATEWAY_PORT" not in environment("router", {})


def test_kafka_and_redis_get_nothing_but_the_systems_variables() -> None:
    """A secret of the shell is not readable in their environments."""
    environ = {"PATH": "/bin", "LC_ALL": "C", **SECRETS}
    assert system_environment(environ) == {"PATH": "/bin", "LC_ALL": "C"}


def test_services_keep_what_they_compiled() -> None:
    """Whatever the shell says: else each restart would compile them anew."""
    environ = {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1"}
    found = environment("router", environ)
    assert "PYTHONDONTWRITEBYTECODE" not in found
    assert found["PYTHONUNBUFFERED"] == "1"


def test_every_address_is_named() -> None:
    """What ``millrace status --json`` promises."""
    running = instances(SERVICES, scale={"gateway": 2})
    ports = {process: 20_000 + n for n, process in enumerate(usual_ports(running))}
    served = addresses(running, ports)
    assert set(served) == {
        "kafka",
        "redis",
        "gateway",
        "gateway_1",
        "simulator",
        "schema_registry",
        "local_models",
        "openai",
    }
    assert served["openai"] == f"{served['gateway']}/v1"
    assert len(set(ports.values())) == len(ports)
