"""Secrets of a data directory, made at its first start: the development key and the signing key."""

import secrets
from pathlib import Path

from services.cli.local_stack.state import Layout, write_atomically
from services.shared.domain.keys import SECRET_BYTES, new_key

ENVIRONMENT = "dev"
_KEY_ID_BYTES = 4
_OWNER_ONLY = 0o600


def make_secret(layout: Layout) -> None:
    """Make the random bytes that sign what the gateway publishes, unless they exist."""
    if not layout.secret.exists():
        write_atomically(layout.secret, secrets.token_bytes(SECRET_BYTES), mode=_OWNER_ONLY)


def make_dev_key(layout: Layout) -> str | None:
    """Make the development key, unless it exists.

    The file holds the key and nothing else, no line end either: a program that reads it whole has
    a header's value, as the README's example does.

    Returns:
        The key where it is new, to be shown once; None where there was one.
    """
    if layout.dev_key.exists():
        return None
    key = new_key(
        environment=ENVIRONMENT,
        key_id=secrets.token_hex(_KEY_ID_BYTES),
        random=secrets.token_bytes(SECRET_BYTES),
    )
    write_atomically(layout.dev_key, key.encode(), mode=_OWNER_ONLY)
    return key


def is_private(path: Path) -> bool:
    """Whether nobody but its owner may read a file."""
    return path.stat().st_mode & 0o077 == 0
