"""Virtual keys: their form, their hash, and whether one is the one that was issued.

A key is ``gw_<environment>_<key id>_<secret>_<checksum>``: 256 random bits in base 62 and, over all
that stands before it, a CRC-32 in hex. So a scanner of leaked secrets can recognise one, a typing
error is told from a wrong key, and the id finds the key's record without a search. Only the SHA-256
of the whole key is kept; 256 random bits need no slow hash.
"""

import hashlib
import hmac
import re
import zlib

import msgspec

SECRET_BYTES = 32
_SECRET_DIGITS = 43
_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_KEY_ID = re.compile(r"[A-Za-z0-9-]{1,64}")
_KEY = re.compile(
    r"gw_(?P<environment>[a-z0-9]{1,16})_(?P<key_id>[A-Za-z0-9-]{1,64})"
    r"_[A-Za-z0-9]{43}_(?P<checksum>[0-9a-f]{8})"
)


class ParsedKey(msgspec.Struct, frozen=True, kw_only=True):
    """What a key says of itself; nothing is proven by it.

    Attributes:
        environment: Where it belongs, e.g. ``local``.
        key_id: Public id under which its hash is kept.
    """

    environment: str
    key_id: str


def is_key_id(text: str) -> bool:
    """Whether a text may be the id of a key."""
    return _KEY_ID.fullmatch(text) is not None


def new_key(*, environment: str, key_id: str, random: bytes) -> str:
    """Make a key.

    Args:
        environment: 1 to 16 lower-case letters and digits.
        key_id: 1 to 64 letters, digits and ``-``.
        random: ``SECRET_BYTES`` unpredictable bytes.

    Raises:
        ValueError: An argument does not have that form. Not retriable.
    """
    start = f"gw_{environment}_{key_id}_{_base62(random)}"
    key = f"{start}_{_checksum(start)}"
    if len(random) != SECRET_BYTES or parse_key(key) is None:
        msg = "environment, key id or number of random bytes do not fit the form of a key"
        raise ValueError(msg)
    return key


def parse_key(key: str) -> ParsedKey | None:
    """Read a key; None when it has not the form of one or was mistyped."""
    match = _KEY.fullmatch(key)
    if match is None or _checksum(key[:-9]) != match["checksum"]:
        return None
    return ParsedKey(environment=match["environment"], key_id=match["key_id"])


def key_hash(key: str) -> str:
    """The hash that is kept of a key, 64 hex digits."""
    return hashlib.sha256(key.encode()).hexdigest()


def is_key(key: str, expected_hash: str) -> bool:
    """Whether this is the key of that hash; takes equally long whatever they are."""
    return hmac.compare_digest(key_hash(key), expected_hash)


def _checksum(text: str) -> str:
    return f"{zlib.crc32(text.encode()):08x}"


def _base62(random: bytes) -> str:
    number = int.from_bytes(random, "big")
    digits = ""
    for _ in range(_SECRET_DIGITS):
        number, digit = divmod(number, 62)
        digits = _DIGITS[digit] + digits
    return digits
