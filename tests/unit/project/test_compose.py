"""``docker-compose.yml`` and what it mounts: valid, complete, locked down, and true to the code."""

import re
from pathlib import Path
from typing import Any

import pytest

from tests.support.project import (
    ROOT,
    read_pyproject,
    read_yaml,
    run_tool,
    services,
    sources_of_services,
)

_COMPOSE = read_yaml("docker-compose.yml")
_CONTAINERS: dict[str, dict[str, Any]] = _COMPOSE["services"]
_OUR_IMAGE = f"millrace:{read_pyproject()['project']['version']}"
_OURS = {name: it for name, it in _CONTAINERS.items() if "build" in it}
_SERVICES = {name: it for name, it in _OURS.items() if it["restart"] != "no"}
_METRIC_SUFFIX = re.compile(r"_(total|bucket|sum|count)$")


@pytest.mark.timeout(30)
def test_compose_file_follows_the_compose_specification() -> None:
    """The specification's own schema accepts the file."""
    done = run_tool(
        "check-jsonschema", "--builtin-schema", "vendor.compose-spec", "docker-compose.yml"
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.timeout(30)
def test_the_specification_refuses_an_unknown_key(tmp_path: Path) -> None:
    """The check above checks something: a key that Compose does not know is refused."""
    bad = tmp_path / "docker-compose.yml"
    bad.write_text("services:\n  gateway:\n    imagge: millrace\n")
    done = run_tool("check-jsonschema", "--builtin-schema", "vendor.compose-spec", str(bad))
    assert done.returncode == 1, done.stdout


def test_every_service_has_a_container() -> None:
    """Each service's folder runs as a container that has the service's name, and no other does."""
    commands = {name: it["command"] for name, it in _SERVICES.items()}
    assert commands == {
        folder.replace("_", "-"): ["python", "-m", f"services.{folder}"] for folder in services()
    }


@pytest.mark.parametrize("name", _OURS)
def test_our_containers_run_one_image_with_a_read_only_root(name: str) -> None:
    """One image of this version for all; it writes to memory and to the state volume only."""
    container = _OURS[name]
    assert container["image"] == _OUR_IMAGE
    assert container["read_only"]
    assert container["tmpfs"]
    assert {
        volume.split(":")[0]
        for volume in container.get("volumes", [])
        if "ro" not in volume.split(":")
    } <= {"state"}


@pytest.mark.parametrize("name", _CONTAINERS)
def test_containers_are_bounded_and_without_privileges(name: str) -> None:
    """No capability, no way to gain one, and limits on memory, processes and logs."""
    container = _CONTAINERS[name]
    assert container["cap_drop"] == ["ALL"]
    assert "cap_add" not in container
    assert not container.get("privileged")
    assert "no-new-privileges:true" in container["security_opt"]
    assert container["mem_limit"]
    assert container["pids_limit"] > 0
    assert container["logging"]["options"]["max-size"]


@pytest.mark.parametrize("name", _CONTAINERS)
def test_published_ports_are_on_loopback(name: str) -> None:
    """Nothing is reachable from another machine."""
    assert all(port.startswith("127.0.0.1:") for port in _CONTAINERS[name].get("ports", []))


@pytest.mark.parametrize("name", _CONTAINERS)
def test_images_are_pinned(name: str) -> None:
    """An image is named with a whole version, never ``latest``."""
    assert re.search(r":v?\d+\.\d+\.\d+(-\w+)?$", _CONTAINERS[name]["image"])


@pytest.mark.parametrize("name", _SERVICES)
def test_services_are_watched_by_their_liveness_probe(name: str) -> None:
    """A health check asks ``/livez``, which needs nothing but the process itself."""
    assert "/livez" in " ".join(_SERVICES[name]["healthcheck"]["test"])


def test_only_who_calls_providers_reaches_the_world() -> None:
    """The network of the data reaches nothing outside; two containers may leave."""
    assert _COMPOSE["networks"]["data"]["internal"] is True
    leaving = {name for name, it in _CONTAINERS.items() if "egress" in it["networks"]}
    assert leaving == {"model-caller", "first-start"}


def test_only_who_calls_providers_gets_their_keys() -> None:
    """A provider's key is in the environment of the two containers that call providers."""
    holders = {
        name for name, it in _CONTAINERS.items() if "OPENAI_API_KEY" in it.get("environment", {})
    }
    assert holders == {"model-caller", "first-start"}


def test_variables_are_ones_that_services_read() -> None:
    """Each ``MILLRACE_`` variable is a field of some settings or is named by the code."""
    source = sources_of_services()
    names = {
        name
        for container in _OURS.values()
        for name in container.get("environment", {})
        if name.startswith("MILLRACE_")
    }
    unread = [
        name
        for name in sorted(names)
        if not re.search(rf"^    {name.removeprefix('MILLRACE_').lower()}: ", source, re.MULTILINE)
        and name not in source
        and f"}}{name.removeprefix('MILLRACE_')}" not in source
    ]
    assert unread == []


def test_mounted_files_exist() -> None:
    """What is mounted from the checkout is there; Docker would make an empty folder of it."""
    volumes = [volume for it in _CONTAINERS.values() for volume in it.get("volumes", [])]
    paths = [re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", volume).split(":")[0] for volume in volumes]
    mounted = [path for path in paths if path.startswith("./")]
    assert mounted
    assert [path for path in mounted if not (ROOT / path).exists()] == []


def test_the_broker_is_the_local_stacks() -> None:
    """Compose and ``millrace up`` run the same version of Kafka."""
    jars = (ROOT / "services/cli/local_stack/kafka_jars.txt").read_text()
    version = re.search(r"org\.apache\.kafka:kafka-clients:(\S+)", jars)
    assert version
    assert _CONTAINERS["kafka"]["image"] == f"apache/kafka:{version[1]}"


def test_dockerfile_copies_what_its_context_holds() -> None:
    """Each path that the image takes exists and passes ``.dockerignore``."""
    dockerfile = (ROOT / "deploy/Dockerfile").read_text()
    let_in = (ROOT / ".dockerignore").read_text().splitlines()
    copies = re.findall(r"^COPY (?!--from)(.+) \S+$", dockerfile, re.MULTILINE)
    copied = [path for line in copies for path in line.split()]
    assert copied
    assert [path for path in copied if not (ROOT / path).exists()] == []
    assert [path for path in copied if f"!{path}" not in let_in] == []


def test_dockerfile_is_pinned_and_unprivileged() -> None:
    """Its base is named by digest, packages by hash; it does not run as root."""
    dockerfile = (ROOT / "deploy/Dockerfile").read_text()
    bases = re.findall(r"^FROM (\S+)", dockerfile, re.MULTILINE)
    assert all(re.search(r"@sha256:[0-9a-f]{64}$", base) for base in bases)
    assert "--require-hashes" in dockerfile
    users = re.findall(r"^USER (\d+)", dockerfile, re.MULTILINE)
    assert users
    assert int(users[-1]) > 0


def test_prometheus_reads_every_service() -> None:
    """Each service is scraped, and nothing that does not exist."""
    config = read_yaml("deploy/prometheus/prometheus.yml")
    targets = [
        target.split(":")[0]
        for job in config["scrape_configs"]
        for group in job["static_configs"]
        for target in group["targets"]
    ]
    assert sorted(targets) == sorted(_SERVICES)


def test_alerts_name_metrics_that_exist() -> None:
    """Each of our metrics in an alert rule is made by some service."""
    rules = read_yaml("deploy/prometheus/rules.yml")["groups"]
    expressions = " ".join(rule["expr"] for group in rules for rule in group["rules"])
    named = {
        _METRIC_SUFFIX.sub("", name)
        for name in re.findall(r"\b(?:millrace|gen_ai)_\w+", expressions)
    }
    source = sources_of_services()
    assert named
    assert [name for name in sorted(named) if f'"{name}"' not in source] == []


def test_alerts_say_what_to_do() -> None:
    """Each alert has a severity, a summary and a first step."""
    for group in read_yaml("deploy/prometheus/rules.yml")["groups"]:
        for rule in group["rules"]:
            assert rule["labels"]["severity"] in {"critical", "warning"}
            assert set(rule["annotations"]) == {"summary", "action"}


def test_collector_pipelines_use_what_is_declared() -> None:
    """No pipeline of the collector names a part that the file does not configure."""
    config = read_yaml("deploy/otel-collector.yaml")
    for pipeline in config["service"]["pipelines"].values():
        for kind, names in pipeline.items():
            assert set(names) <= set(config[kind])
    assert set(config["service"]["extensions"]) <= set(config["extensions"])
