"""Which certificate authorities to trust."""

import ssl
from collections.abc import Mapping
from functools import cache

from services.shared.domain.errors import InvalidConfiguration

BUNDLE_VARIABLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")


def tls_context(environ: Mapping[str, str], *, ca_bundle: str = "") -> ssl.SSLContext:
    """A client's TLS context, made once for each bundle (loading one takes some 20 ms).

    Args:
        environ: The environment; ``SSL_CERT_FILE`` or ``REQUESTS_CA_BUNDLE`` names a PEM file.
        ca_bundle: PEM file that takes precedence; empty = none. Without any, the system's
            authorities are trusted.

    Raises:
        InvalidConfiguration: The file cannot be read. Not retriable.
    """
    named = (environ.get(variable, "") for variable in BUNDLE_VARIABLES)
    return _context(ca_bundle or next(filter(None, named), ""))


@cache
def _context(ca_bundle: str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_bundle or None)
    except (OSError, ssl.SSLError) as error:
        msg = f"{ca_bundle}: cannot be read as a bundle of certificate authorities: {error}"
        raise InvalidConfiguration(msg) from error
