"""The local stack with dummies for services: ``python -m tests.support.dummy_stack --help``."""

import argparse
import os
import sys
from pathlib import Path

from rich.console import Console

from services.cli.local_stack.services import Service
from services.cli.local_stack.start import StartRequest, run_stack
from services.shared.domain.errors import MillraceError

DUMMIES = (
    Service(
        name="gateway",
        module="tests.support.dummies.gateway",
        on_path=True,
        usual_port=8080,
        variable="MILLRACE_GATEWAY",
    ),
    Service(name="worker", module="tests.support.dummies.worker", on_path=True, scalable=True),
    Service(
        name="caller",
        module="tests.support.dummies.worker",
        on_path=True,
        calls_providers=True,
    ),
)
DEAF = Service(name="deaf", module="tests.support.dummies.deaf")


def main() -> None:
    """Run it until a signal comes."""
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--partitions", type=int)
    parser.add_argument("--with-deaf", action="store_true", help="one ignores SIGTERM")
    options = parser.parse_args()
    request = StartRequest(
        data=options.data,
        partitions=options.partitions,
        scale={"worker": 2},
        services=(*DUMMIES, DEAF) if options.with_deaf else DUMMIES,
    )
    try:
        run_stack(request, environ=dict(os.environ), console=Console())
    except MillraceError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
