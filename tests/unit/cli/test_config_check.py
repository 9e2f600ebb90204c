"""``millrace config check``."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from services.cli.config_check import app, check
from services.shared.adapters.complexity_weights import SHIPPED
from services.shared.domain.errors import InvalidConfiguration

GOOD = """\
providers:
  openai: {base_url: "https://api.openai.com/v1", api_key_env: MADE_UP_KEY}
models:
  fast: {targets: [{provider: openai, model: gpt-4o-mini}]}
  odd: {targets: [{provider: openai, model: nobody-knows}]}
"""
NOW_MS = 1_790_000_000_000


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A configuration file without mistakes."""
    path = tmp_path / "millrace.yaml"
    path.write_text(GOOD)
    return path


def test_a_good_file_is_summed_up_with_warnings(file: Path) -> None:
    """Unset variables and models without a price are warned of before anybody meets them."""
    report = check(file, environ={}, now_ms=NOW_MS)
    assert report.mistakes == ()
    assert report.summary.startswith(f"{file}: no mistakes; providers 1, models 2, keys 0")
    assert report.warnings == (
        "providers.openai: MADE_UP_KEY is not set in this environment",
        "models.odd: openai/nobody-knows has no known price, so it is refused",
    )


def test_a_set_variable_is_no_warning(file: Path) -> None:
    """With the key in the environment only the price is left to say."""
    assert len(check(file, environ={"MADE_UP_KEY": "k"}, now_ms=NOW_MS).warnings) == 1


def test_the_command_succeeds_on_a_good_file(file: Path) -> None:
    """It prints the summary and exits with 0."""
    result = CliRunner().invoke(app, ["check", str(file)])
    assert result.exit_code == 0
    assert "no mistakes" in result.stdout


def test_the_command_names_every_mistake_and_fails(file: Path) -> None:
    """Each mistake is a line with file, line and remedy; the exit code is 1."""
    file.write_text(GOOD.replace("provider: openai", "provider: opnai") + "cach: {}\n")
    result = CliRunner().invoke(app, ["check", str(file)])
    assert result.exit_code == 1
    lines = result.stderr.splitlines()
    assert lines[0].startswith(f"{file}:4: models.fast.targets[0].provider: 'opnai'")
    assert lines[-1] == f"{file}:6: cach: is not known here; did you mean 'cache'?"
    assert "3 mistakes" in result.stdout


def test_a_file_that_is_not_there_fails_in_words(tmp_path: Path) -> None:
    """No traceback, but the path and the reason."""
    path = tmp_path / "absent.yaml"
    with pytest.raises(InvalidConfiguration, match="cannot be read"):
        check(path, environ={}, now_ms=NOW_MS)
    result = CliRunner().invoke(app, ["check", str(path)])
    assert result.exit_code == 1
    assert f"{path}: cannot be read" in result.stderr


def test_a_weights_file_that_is_none_is_a_mistake(file: Path, tmp_path: Path) -> None:
    """It is named with its alias, as the router would refuse to start with it."""
    weights = tmp_path / "weights.json"
    file.write_text(
        GOOD.replace(
            "model: gpt-4o-mini}]", f"model: gpt-4o-mini}}], complexity: {{weights: {weights}}}"
        )
    )
    where = f"models.fast.complexity.weights: The weights file {weights} cannot be read"
    assert check(file, environ={}, now_ms=NOW_MS).mistakes[0].startswith(where)
    weights.write_text("{}")
    assert "is no weights file" in check(file, environ={}, now_ms=NOW_MS).mistakes[0]
    weights.write_bytes(SHIPPED.read_bytes())
    assert check(file, environ={}, now_ms=NOW_MS).mistakes == ()
