"""Which certificate authorities are trusted."""

import ssl
from pathlib import Path

import pytest

from services.shared.adapters.tls import tls_context
from services.shared.domain.errors import InvalidConfiguration


def test_contexts_verify_and_are_made_once() -> None:
    """Certificates are always checked; one context serves every call."""
    context = tls_context({})
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert tls_context({}) is context


@pytest.mark.parametrize(
    ("environ", "ca_bundle", "named"),
    [
        ({}, "own.pem", "own.pem"),
        ({"SSL_CERT_FILE": "one.pem", "REQUESTS_CA_BUNDLE": "two.pem"}, "own.pem", "own.pem"),
        ({"SSL_CERT_FILE": "one.pem", "REQUESTS_CA_BUNDLE": "two.pem"}, "", "one.pem"),
        ({"SSL_CERT_FILE": "", "REQUESTS_CA_BUNDLE": "two.pem"}, "", "two.pem"),
    ],
)
def test_the_nearest_bundle_counts(
    tmp_path: Path, environ: dict[str, str], ca_bundle: str, named: str
) -> None:
    """The configured bundle, then the two variables; one that is absent is an error by name."""
    inside = {name: str(tmp_path / value) if value else "" for name, value in environ.items()}
    own = str(tmp_path / ca_bundle) if ca_bundle else ""
    with pytest.raises(InvalidConfiguration, match=named):
        tls_context(inside, ca_bundle=own)
