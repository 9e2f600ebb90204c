"""Becomes a program that the system ends when its supervisor is gone: ``guard.py SIGNAL PID ...``.

Run as a script by ``orphans.guarded``, in a bare interpreter, so it imports nothing of ours. It
asks Linux for ``SIGNAL`` at the end of its parent, whose id is ``PID``, and then replaces itself by
the program; the process stays the same.
"""

import ctypes
import os
import sys

_PR_SET_PDEATHSIG = 1
_CANNOT_RUN = 127


def dies_with(parent: int, signal_number: int) -> bool:
    """Have Linux send this process a signal at the end of its parent; False = it has ended."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal_number, 0, 0, 0)
    return os.getppid() == parent  # else it died before the kernel knew


def main(signal_number: int, parent: int, command: list[str]) -> None:
    """Arrange it and become the program."""
    if not dies_with(parent, signal_number):
        sys.exit(0)
    try:
        os.execv(command[0], command)  # noqa: S606  the supervisor's own command
    except OSError as error:
        sys.stderr.write(f"{command[0]} cannot be run: {error}\n")
        sys.exit(_CANNOT_RUN)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
