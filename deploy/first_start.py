"""Prepares the volume that all services of ``docker-compose.yml`` share: secrets and configuration.

The signing secret and the development key are made once. The configuration is written at each
start: ``/etc/millrace/millrace.yaml`` where there is one, else what follows from the environment.
"""

import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from services.cli.local_stack.configuration import USUAL_FILE, choose_configuration
from services.cli.local_stack.keys import make_dev_key, make_secret
from services.cli.local_stack.state import Layout, write_atomically
from services.shared.domain.errors import MillraceError

_MOUNTED = Path("/etc/millrace") / USUAL_FILE


def prepare(layout: Layout, *, mounted: Path, environ: Mapping[str, str]) -> Iterator[str]:
    """Prepare a folder, and say in lines what was done.

    Args:
        layout: The folder.
        mounted: Where the user's configuration is, if there is one.
        environ: What the configuration follows from otherwise.

    Raises:
        InvalidConfiguration: The configuration holds mistakes; all are named. Not retriable.
    """
    make_secret(layout)
    if key := make_dev_key(layout):
        yield f"development key, shown once: {key}"
    given = mounted if mounted.exists() else None
    chosen = choose_configuration(
        given, layout=layout, simulator_url=environ["MILLRACE_SIMULATOR_URL"], environ=environ
    )
    if given:
        write_atomically(layout.root / USUAL_FILE, given.read_bytes())
    yield f"configuration: {chosen.origin}"
    yield from (f"warning: no key is set for provider {missing}" for missing in chosen.unset)


def main() -> None:
    """Prepare the folder that ``MILLRACE_DATA`` names; exit code 1 and a message if it cannot."""
    layout = Layout(Path(os.environ["MILLRACE_DATA"]))
    try:
        for line in prepare(layout, mounted=_MOUNTED, environ=os.environ):
            print(line)
    except MillraceError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
