"""The secret that gateways sign requests with."""

from pathlib import Path

from services.shared.domain.errors import InvalidConfiguration

MIN_SECRET_BYTES = 16


def read_secret(path: str) -> bytes:
    """Read the secret.

    Raises:
        InvalidConfiguration: There is no file, or it holds too little. Not retriable.
    """
    if not path:
        raise InvalidConfiguration(
            "MILLRACE_SECRET_FILE is not set; it names a file of random bytes that all gateways "
            "and cache lookups share (the local stack makes one)"
        )
    try:
        secret = Path(path).read_bytes()
    except OSError as error:
        raise InvalidConfiguration(f"MILLRACE_SECRET_FILE: {path}: {error.strerror}") from error
    if len(secret) < MIN_SECRET_BYTES:
        raise InvalidConfiguration(
            f"MILLRACE_SECRET_FILE: {path} holds {len(secret)} bytes; {MIN_SECRET_BYTES} are needed"
        )
    return secret
