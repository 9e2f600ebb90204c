"""``millrace route explain`` without a broker."""

import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from services.cli.__main__ import app
from services.cli.errors import CommandError
from services.cli.invocation import Invocation
from services.cli.local_stack.keys import make_dev_key
from services.cli.local_stack.lock import hold
from services.cli.local_stack.state import Layout, Stack, StackState, write_json
from services.shared.domain.keys import parse_key

CONFIGURATION = f"""\
providers:
  p: {{base_url: "http://p/v1", free: true}}
models:
  m:
    strategy: complexity
    targets:
      - {{provider: p, model: weak}}
      - {{provider: p, model: strong, tiers: [gold]}}
  other: {{targets: [{{provider: p, model: weak}}]}}
keys:
  - {{id: gold-1, tenant: acme, tier: gold, hash: "{"0" * 64}"}}
  - {{id: narrow-1, tenant: acme, models: [other], hash: "{"1" * 64}"}}
"""


def run(folder: Path, *arguments: str, given: str | bytes = "") -> tuple[Result, str]:
    """What the command says."""
    (folder / "millrace.yaml").write_text(CONFIGURATION)
    console = Console(width=120, record=True)
    invocation = Invocation(environ={}, folder=folder, console=console, errors=Console(stderr=True))
    result = CliRunner().invoke(
        app, ["route", "explain", *arguments, "--data", str(folder)], obj=invocation, input=given
    )
    return result, console.export_text()


def explained(folder: Path, *arguments: str, given: str = "") -> Any:
    """What the command says to programs."""
    result, _ = run(folder, *arguments, "--json", given=given)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_a_text_is_scored_and_its_targets_are_ordered(tmp_path: Path) -> None:
    """With all that the decision rests on, for people."""
    result, shown = run(tmp_path, "--text", "Prove it.", "--model", "m", "--tier", "gold")
    assert result.exit_code == 0, result.output
    assert "strategy  complexity" in shown
    assert "score     0." in shown
    assert "p/weak" in shown
    assert "p/strong" in shown


def test_a_target_of_another_tier_is_shown_with_its_gate(tmp_path: Path) -> None:
    """And has no place in the order."""
    document = explained(tmp_path, "--text", "hello", "--model", "m")
    weak, strong = document["targets"]
    assert (weak["position"], strong["position"], strong["stopped_by"]) == (1, 0, ["tier"])


def test_a_request_is_read_from_a_file_or_from_standard_input(tmp_path: Path) -> None:
    """Both are the body that a client would send; the key says tenant, tier and models."""
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "hello"}]})
    (tmp_path / "request.json").write_text(body)
    from_file = explained(tmp_path, str(tmp_path / "request.json"), "--key", "gold-1")
    from_input = explained(tmp_path, "-", "--key", "gold-1", given=body)
    assert from_file == from_input
    assert {each["position"] for each in from_file["targets"]} == {1, 2}
    assert explained(tmp_path, "-", "--key", "narrow-1", given=body)["is_refused"]


@pytest.mark.parametrize(
    ("arguments", "given", "says"),
    [
        (["--text", "x"], "", "--model"),
        (["missing.json"], "", "missing.json: No such file"),
        (["-"], "[]", "no JSON object"),
        (["-"], b'{"model": "\xff"}', "no JSON object"),
        (["-"], '{"a":' * 5_000 + "1" + "}" * 5_000, "no JSON object"),
        (["-"], "{}", "'messages', 'prompt', 'input'"),
        (["-"], '{"model":"m","messages":[]}', "A gateway would refuse it"),
        (["--text", "x", "--model", "m", "--key", "nobody"], "", "no key 'nobody'"),
        (["req_0190000000007000800000000000000003"], "", "No stack runs"),
    ],
)
def test_what_cannot_be_explained_is_said(
    tmp_path: Path, arguments: list[str], given: str | bytes, says: str
) -> None:
    """One message that names the remedy or the fault."""
    result, _ = run(tmp_path, *arguments, given=given)
    assert isinstance(result.exception, CommandError)
    assert says in str(result.exception)


def test_a_running_stack_is_asked_by_what_it_serves_by(tmp_path: Path) -> None:
    """Whatever file lies here; its development key is known, and a named file goes before all."""
    other = tmp_path / "elsewhere.yaml"
    other.write_text(CONFIGURATION.replace("  m:", "  only-there:"))
    layout = Layout(tmp_path)
    key = parse_key(make_dev_key(layout) or "")
    assert key is not None
    stack = Stack(
        state=StackState.RUNNING, pid=1, data=str(tmp_path), partitions=1, config=str(other)
    )
    write_json(layout.state, stack)
    question = ("--text", "Prove it.", "--model", "only-there", "--key", key.key_id)
    with hold(layout):
        assert not explained(tmp_path, *question)["is_refused"]
        assert explained(tmp_path, *question, "--config", "millrace.yaml")["is_refused"]
    assert explained(tmp_path, *question)["is_refused"]
