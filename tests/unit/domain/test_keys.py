"""Virtual keys: form, checksum, hash."""

import hashlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.shared.domain.keys import (
    SECRET_BYTES,
    is_key,
    is_key_id,
    key_hash,
    new_key,
    parse_key,
)

KEY = new_key(environment="local", key_id="team-a", random=bytes(range(SECRET_BYTES)))


def test_a_key_has_the_documented_form() -> None:
    """``gw_<environment>_<id>_<43 base-62 digits>_<8 hex digits>``."""
    assert re.fullmatch(r"gw_local_team-a_[0-9A-Za-z]{43}_[0-9a-f]{8}", KEY)


@given(
    environment=st.from_regex(r"[a-z0-9]{1,16}", fullmatch=True),
    key_id=st.from_regex(r"[A-Za-z0-9-]{1,64}", fullmatch=True),
    random=st.binary(min_size=SECRET_BYTES, max_size=SECRET_BYTES),
)
def test_a_key_that_was_made_can_be_read(environment: str, key_id: str, random: bytes) -> None:
    """Environment and id come back for every key."""
    parsed = parse_key(new_key(environment=environment, key_id=key_id, random=random))
    assert parsed is not None
    assert (parsed.environment, parsed.key_id) == (environment, key_id)


@given(
    st.lists(
        st.binary(min_size=SECRET_BYTES, max_size=SECRET_BYTES), min_size=2, max_size=8, unique=True
    )
)
def test_different_secrets_make_different_keys(secrets: list[bytes]) -> None:
    """All 256 bits are in the key."""
    keys = {new_key(environment="e", key_id="k", random=secret) for secret in secrets}
    assert len(keys) == len(secrets)


@given(position=st.integers(0, len(KEY) - 1), character=st.sampled_from("abcXYZ019_-"))
def test_a_mistyped_key_is_no_key(position: int, character: str) -> None:
    """Any single wrong character is noticed."""
    mistyped = KEY[:position] + character + KEY[position + 1 :]
    assert (parse_key(mistyped) is None) == (mistyped != KEY)


@pytest.mark.parametrize("text", ["", "sk-proj-abc", KEY + "\n", KEY.upper(), "gw_" * 20])
def test_other_texts_are_no_keys(text: str) -> None:
    """Keys of others, and keys with anything around them, are not read."""
    assert parse_key(text) is None


@pytest.mark.parametrize(
    ("environment", "key_id", "random"),
    [
        ("Local", "k", bytes(SECRET_BYTES)),
        ("", "k", bytes(SECRET_BYTES)),
        ("local", "a_b", bytes(SECRET_BYTES)),
        ("local", "k", bytes(SECRET_BYTES - 1)),
        ("local", "k", bytes(SECRET_BYTES + 1)),
    ],
)
def test_a_key_that_could_not_be_read_is_not_made(
    environment: str, key_id: str, random: bytes
) -> None:
    """Arguments that do not fit the form, or too few random bits, are refused."""
    with pytest.raises(ValueError, match="form of a key"):
        new_key(environment=environment, key_id=key_id, random=random)


def test_only_the_key_itself_has_its_hash() -> None:
    """The hash is SHA-256 of the whole key, and no other key passes for it."""
    assert key_hash(KEY) == hashlib.sha256(KEY.encode()).hexdigest()
    assert is_key(KEY, key_hash(KEY))
    other = new_key(environment="local", key_id="team-a", random=bytes(SECRET_BYTES))
    assert not is_key(other, key_hash(KEY))


@pytest.mark.parametrize(("text", "is_one"), [("a", True), ("a" * 65, False), ("", False)])
def test_ids_are_bounded(text: str, is_one: object) -> None:
    """An id has 1 to 64 characters."""
    assert is_key_id(text) is is_one
