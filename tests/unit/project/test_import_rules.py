"""The import rules of ``pyproject.toml`` are kept, and each of them notices when it is broken."""

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[3]
_LINT_IMPORTS = Path(sys.executable).with_name("lint-imports")

_VIOLATIONS = [
    pytest.param(
        "islands", "gateway/planted.py", "services.simulator", id="service_imports_service"
    ),
    pytest.param("islands", "shared/domain/planted.py", "services.gateway", id="shared_imports_up"),
    pytest.param("islands", "unheard_of/__init__.py", "json", id="folder_without_a_rule"),
    pytest.param(
        "shared-layers",
        "shared/domain/planted.py",
        "services.shared.codec",
        id="domain_imports_codec",
    ),
    pytest.param(
        "shared-layers",
        "shared/ports/planted.py",
        "services.shared.stream",
        id="port_imports_stream",
    ),
    pytest.param(
        "shared-layers",
        "shared/codec/planted.py",
        "services.shared.ports",
        id="codec_imports_ports",
    ),
    pytest.param("shared-layers", "shared/helpers.py", "json", id="shared_module_without_a_layer"),
    pytest.param("purity", "shared/domain/planted.py", "time", id="domain_imports_the_clock"),
    pytest.param("purity", "shared/domain/planted.py", "random", id="domain_imports_randomness"),
    pytest.param("purity", "router/decide.py", "asyncio", id="decision_imports_asyncio"),
    pytest.param(
        "purity", "router/decide.py", "services.shared.telemetry", id="decision_imports_telemetry"
    ),
    pytest.param("kafka-clients", "gateway/planted.py", "aiokafka", id="service_imports_aiokafka"),
    pytest.param("kafka-clients", "cli/planted.py", "confluent_kafka", id="cli_imports_confluent"),
    pytest.param("kafka-clients", "batcher/planted.py", "faust", id="service_imports_faust"),
    pytest.param("redis-client", "gateway/planted.py", "redis", id="service_imports_redis"),
    pytest.param("avro-library", "gateway/planted.py", "fastavro", id="service_imports_fastavro"),
    pytest.param(
        "telemetry-library", "shared/stream/planted.py", "opentelemetry", id="stream_imports_otel"
    ),
    pytest.param(
        "composition", "gateway/planted.py", "services.shared.stream", id="processor_picks_runtime"
    ),
    pytest.param(
        "composition", "router/planted.py", "services.shared.adapters", id="processor_picks_adapter"
    ),
]


@pytest.fixture(name="project", scope="module")
def copied_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the sources and their import rules, free to be spoilt; the rules are kept."""
    project = tmp_path_factory.mktemp("project")
    shutil.copytree(
        _ROOT / "services", project / "services", ignore=shutil.ignore_patterns("__pycache__")
    )
    shutil.copy(_ROOT / "pyproject.toml", project)
    done = _lint(project)
    assert done.returncode == 0, done.stdout
    return project


def _lint(project: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(_LINT_IMPORTS), "--no-cache", "--no-logo", *options],
        cwd=project,
        env={"PATH": os.defpath, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
        timeout=9,
    )


@contextlib.contextmanager
def _planted(module: Path, imported: str) -> Iterator[None]:
    """Have an import in a module, which is made where there is none, with its package."""
    is_new_package = not module.parent.exists()
    before = module.read_text() if module.exists() else None
    module.parent.mkdir(exist_ok=True)
    if is_new_package:
        (module.parent / "__init__.py").touch()
    module.write_text(f"{before or ''}\nimport {imported}\n")
    try:
        yield
    finally:
        if is_new_package:
            shutil.rmtree(module.parent)
        elif before is None:
            module.unlink()
        else:
            module.write_text(before)


@pytest.mark.parametrize(("contract", "path", "imported"), _VIOLATIONS)
def test_a_broken_import_rule_is_noticed(
    project: Path, contract: str, path: str, imported: str
) -> None:
    """One forbidden import breaks the contract that forbids it; all held before."""
    with _planted(project / "services" / path, imported):
        done = _lint(project, "--contract", contract)
    assert done.returncode == 1, done.stdout
    assert "BROKEN" in done.stdout, done.stdout


def test_every_contract_is_broken_once() -> None:
    """No contract is without a test that breaks it."""
    declared = {
        line.split('"')[1]
        for line in (_ROOT / "pyproject.toml").read_text().splitlines()
        if line.startswith("id = ")
    }
    assert {violation.values[0] for violation in _VIOLATIONS} == declared


def test_every_folder_of_modules_is_a_package() -> None:
    """A folder without ``__init__.py`` would escape the import rules unseen."""
    folders = {module.parent for module in (_ROOT / "services").rglob("*.py")}
    assert [folder for folder in folders if not (folder / "__init__.py").exists()] == []
