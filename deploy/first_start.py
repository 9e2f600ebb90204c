"""Prepares the volume that all services of ``docker-compose.yml`` share: secrets and configuration.

The signing secret and the development key are made once. The configuration is written at each
start: ``/etc/millrace/millrace.yaml`` where there is one, else what follows from the environment.
"""

import os
import sys
from pathlib import Path

from services.cli.local_stack.configuration import USUAL_FILE, choose_configuration
from services.cli.local_stack.keys import make_dev_key, make_secret
from services.cli.local_stack.state import Layout, write_atomically
from services.shared.domain.errors import MillraceError

_MOUNTED = Path("/etc/millrace") / USUAL_FILE


def main() -> None:
    """Prepare the folder that ``MILLRACE_DATA`` names; exit code 1 and a message if it cannot."""
    layout = Layout(Path(os.environ["MILLRACE_DATA"]))
    make_secret(layout)
    new_key = make_dev_key(layout)
    given = _MOUNTED if _MOUNTED.exists() else None
    try:
        chosen = choose_configuration(
            given,
            layout=layout,
            simulator_url=os.environ["MILLRACE_SIMULATOR_URL"],
            environ=os.environ,
        )
    except MillraceError as error:
        sys.exit(f"error: {error}")
    if given:
        write_atomically(layout.root / USUAL_FILE, given.read_bytes())
    print(f"configuration: {chosen.origin}")
    for missing in chosen.unset:
        print(f"warning: no key is set for provider {missing}")
    if new_key:
        print(f"development key, shown once: {new_key}")


if __name__ == "__main__":
    main()
