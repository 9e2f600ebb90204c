"""One short name for everything in a configuration that a routing decision can depend on."""

import hashlib

import msgspec

from services.shared.domain.configuration import Configuration

_HEX_DIGITS = 12


def configuration_version(configuration: Configuration) -> str:
    """Hash of a configuration, 12 hex digits.

    The order of names does not count, nor do the hashes of keys, nor a default written out: two
    configurations of one version route every request alike.
    """
    keys = tuple(msgspec.structs.replace(key, hash="") for key in configuration.keys)
    by_id = tuple(sorted(keys, key=lambda key: key.id))
    text = msgspec.json.encode(
        msgspec.structs.replace(configuration, keys=by_id), order="deterministic"
    )
    return hashlib.sha256(text).hexdigest()[:_HEX_DIGITS]
