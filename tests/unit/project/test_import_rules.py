"""The import rules of ``pyproject.toml`` are kept, and each of them notices when it is broken."""

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[3]
_LINT_IMPORTS = Path(sys.executable).with_name("lint-imports")

_CONTRACTS: dict[str, str] = {
    contract["id"]: contract["name"]
    for contract in tomllib.loads((_ROOT / "pyproject.toml").read_text())["tool"]["importlinter"][
        "contracts"
    ]
}

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


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What is said of a copy of the sources with every violation in it; without them, all is kept.

    They are planted together because a run takes most of a second, whatever it finds.
    """
    project = tmp_path_factory.mktemp("project")
    shutil.copytree(
        _ROOT / "services", project / "services", ignore=shutil.ignore_patterns("__pycache__")
    )
    shutil.copy(_ROOT / "pyproject.toml", project)
    kept = _lint(project)
    assert kept.returncode == 0, kept.stdout
    for violation in _VIOLATIONS:
        _, path, imported = violation.values
        _plant(project / "services" / str(path), str(imported))
    found = _lint(project)
    assert found.returncode == 1, found.stdout
    return found.stdout


def _lint(project: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(_LINT_IMPORTS), "--no-cache", "--no-logo"],
        cwd=project,
        env={"PATH": os.defpath, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
        timeout=9,
    )


def _plant(module: Path, imported: str) -> None:
    """Add an import to a module, which is made where there is none, with its package."""
    module.parent.mkdir(exist_ok=True)
    (module.parent / "__init__.py").touch()
    before = module.read_text() if module.exists() else ""
    module.write_text(f"{before}\nimport {imported}\n")


def _reported(output: str, contract: str) -> str:
    """The part of a report that says how a contract is broken."""
    _, _, details = output.partition("\nBroken contracts\n")
    _, _, part = details.partition(f"\n{_CONTRACTS[contract]}\n---")
    return part.partition("\n---")[0]


@pytest.mark.parametrize(("contract", "path", "imported"), _VIOLATIONS)
def test_a_broken_import_rule_is_noticed(
    broken: str, contract: str, path: str, imported: str
) -> None:
    """One forbidden import breaks the contract that forbids it, which names it; all held before."""
    module = f"services/{path}".removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    reported = _reported(broken, contract)
    is_unlisted = f"- {module}\n" in reported
    assert is_unlisted or f" {module} -> {imported} (l." in reported, broken


def test_every_contract_is_broken_once() -> None:
    """No contract is without a test that breaks it."""
    assert {violation.values[0] for violation in _VIOLATIONS} == _CONTRACTS.keys()


def test_every_folder_of_modules_is_a_package() -> None:
    """A folder without ``__init__.py`` would escape the import rules unseen."""
    folders = {module.parent for module in (_ROOT / "services").rglob("*.py")}
    assert [folder for folder in folders if not (folder / "__init__.py").exists()] == []
