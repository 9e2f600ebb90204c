"""The command as a process: what it says when it cannot say anything else."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

NOBODY = ("--bootstrap", "127.0.0.1:1")
NO_TEXT = b"a\xffb"


def run(*arguments: str | bytes, stdout: int | None = None) -> "subprocess.CompletedProcess[bytes]":
    """Run the command with these arguments."""
    return subprocess.run(
        (sys.executable, "-m", "services.cli", *arguments),
        stdout=subprocess.PIPE if stdout is None else stdout,
        stderr=subprocess.PIPE,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("arguments", "number"),
    [
        pytest.param(("trace", NO_TEXT, *NOBODY), 2, id="trace"),
        pytest.param(("tail", "control", "--where", NO_TEXT, *NOBODY), 4, id="condition"),
        pytest.param(("cache", "explain", NO_TEXT, *NOBODY), 3, id="explain"),
    ],
)
def test_an_argument_that_is_no_text_is_named(
    arguments: tuple[str | bytes, ...], number: int
) -> None:
    """In one line, by its number and its bytes."""
    done = run(*arguments)
    assert done.returncode == 2
    message = f"error: Argument {number} is not valid UTF-8: b'a\\xffb'.\n"
    assert done.stderr.decode() == message


@pytest.mark.parametrize("arguments", [("topics", "list"), ("--help",)])
def test_an_output_that_takes_nothing_is_one_line(arguments: tuple[str, ...]) -> None:
    """The disk may be full; the exit code says that not everything was said."""
    with Path("/dev/full").open("wb") as full:
        done = run(*arguments, stdout=full.fileno())
    assert done.returncode == 1
    expected = "error: The output cannot be written: No space left on device.\n"
    assert done.stderr.decode() == expected


def test_a_reader_that_has_seen_enough_is_told_nothing() -> None:
    """``head`` closes its pipe: no message, no traceback."""
    reads, writes = os.pipe()
    os.close(reads)
    done = run("topics", "list", stdout=writes)
    os.close(writes)
    assert (done.returncode, done.stderr) == (1, b"")
