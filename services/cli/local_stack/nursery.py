"""Bears processes whose imports are behind them: ``python -m ...nursery FD MODULE...``.

A service spends most of its start on imports and on compiling schemas. This process does that once
for all, and is then forked for each start, so that a killed service is back a second sooner and a
whole stack starts with a fraction of the work. It runs no thread and no event loop, so forking it
is safe.

Each birth is asked for on the socket ``FD``: a ``Birth`` as JSON, with the file of the log beside
it. The answer is the process' id as text, or ``0`` when the system has no room for one. The newborn
is forked by a go-between that ends at once: so its parent is the supervisor, which is told of its
end and takes it along with its own (``spawning``). Linux only.
"""

import gc
import importlib
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from types import ModuleType
from typing import cast

import msgspec
from setproctitle import setproctitle, setthreadtitle

from services.cli.local_stack.guard import dies_with
from services.shared.codec.records import prepare_codec
from services.shared.codec.topics import packaged_topics

LARGEST_BIRTH_BYTES = 128 * 1024
FAILED = b"0"
_ADOPTION_POLL_S = 0.0002
_PID_BYTES = 20


class Birth(msgspec.Struct, frozen=True):
    """A process to be.

    Attributes:
        module: A package whose ``__main__`` has a ``main``.
        environ: Its whole environment.
        folder: Its working folder.
        orphan_signal: What the system sends it when the supervisor is gone.
    """

    module: str
    environ: dict[str, str]
    folder: str
    orphan_signal: int


def main_of(module: str) -> ModuleType:
    """What ``python -m`` would run of a package, imported."""
    return importlib.import_module(f"{module}.__main__")


def bear(asked: socket.socket) -> Birth | None:
    """Fork whatever is asked for; returns in each newborn, and here at the end of the stack."""
    supervisor = os.getppid()
    while True:
        data, logs, _, _ = socket.recv_fds(asked, LARGEST_BIRTH_BYTES, 1)
        if not data:
            return None
        told, tell = os.pipe()
        try:
            go_between = os.fork()
        except OSError:
            asked.send(FAILED)
        else:
            if go_between == 0:
                os.close(told)
                return _newborn(asked, data, tell=tell, log=logs[0], supervisor=supervisor)
            _, status = os.waitpid(go_between, 0)
            # Not before: until the go-between is gone, the newborn is not the supervisor's child.
            asked.send(os.read(told, _PID_BYTES) if status == 0 else FAILED)
        for descriptor in (told, tell, logs[0]):
            os.close(descriptor)


def _newborn(asked: socket.socket, data: bytes, *, tell: int, log: int, supervisor: int) -> Birth:
    """Leave the go-between behind and settle in."""
    go_between = os.getpid()
    try:
        newborn = os.fork()
    except OSError:
        os._exit(1)
    if newborn:
        os.write(tell, str(newborn).encode())
        os._exit(0)
    os.close(tell)
    asked.close()
    birth = msgspec.json.decode(data, type=Birth)
    while os.getppid() == go_between:
        time.sleep(_ADOPTION_POLL_S)
    if not dies_with(supervisor, birth.orphan_signal):
        os._exit(0)
    os.setsid()  # Ctrl-C reaches the supervisor alone, which stops in order
    with open(os.devnull, "rb") as nothing:  # noqa: PTH123  a device
        os.dup2(nothing.fileno(), 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    os.chdir(birth.folder)
    # First: it finds its place in memory by the environment that the process started with.
    setproctitle(f"{sys.executable} -m {birth.module}")
    setthreadtitle(birth.module.rpartition(".")[2])
    os.environ.clear()
    os.environ.update(birth.environ)
    return birth


def main() -> None:
    """Import, then bear; in each newborn, become what was asked for."""
    descriptor, *modules = sys.argv[1:]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    asked = socket.socket(fileno=int(descriptor))
    for module in modules:
        main_of(module)
    prepare_codec()
    packaged_topics()
    gc.collect()
    gc.freeze()  # what is here stays shared: the collector would touch, and so copy, all of it
    birth = bear(asked)
    if birth is not None:
        sys.argv = [birth.module]
        run = cast("Callable[[], None]", main_of(birth.module).main)
        run()


if __name__ == "__main__":
    main()
