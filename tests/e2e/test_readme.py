"""The README's examples, run as they stand."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.project import ROOT
from tests.support.stack import RunningStack

_RUN = {"sh": ["sh", "-c"], "python": [sys.executable, "-c"]}
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def example(stack: RunningStack, language: str, mark: str) -> str:
    """The README's block that contains the mark, speaking of this stack instead of the usual."""
    blocks = _BLOCK.findall((ROOT / "README.md").read_text())
    (text,) = (text for of, text in blocks if of == language and mark in text)
    return (
        str(text)
        .replace(".millrace/", f"{stack.data}/")
        .replace("http://127.0.0.1:8080/v1", stack.addresses["openai"])
    )


@pytest.mark.parametrize(("language", "mark"), [("sh", "curl -N"), ("python", "OpenAI(")])
def test_an_example_streams_an_answer(
    stack: RunningStack, tmp_path: Path, language: str, mark: str
) -> None:
    """A newcomer who copies the block gets an answer."""
    done = subprocess.run(
        [*_RUN[language], example(stack, language, mark)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout) > 100
    assert '"error"' not in done.stdout
