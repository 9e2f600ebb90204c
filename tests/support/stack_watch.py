"""Stops a stack when the test run that started it is gone: ``python -m tests.support.stack_watch``.

A stack that was started with ``--detach`` outlives whoever started it, also a test run that was
killed. This process holds the read end of a pipe whose other end closes with that run.
"""

import sys
from pathlib import Path


def main() -> None:
    """Wait for the end of standard input, then stop the stack of a data directory."""
    sys.stdin.buffer.read()
    from services.cli.local_stack.stop import stop_stack  # noqa: PLC0415  waits in 10 MB

    stop_stack(Path(sys.argv[1]))


if __name__ == "__main__":
    main()
