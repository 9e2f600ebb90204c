"""What a gateway says of what it has read."""

import pytest

from services.gateway.health import said_of_claims


@pytest.mark.parametrize(
    ("ratio", "said"),
    [
        (0.0, "reading: 0 %; requests with a key are refused meanwhile"),
        (0.999, "reading: 99 %; requests with a key are refused meanwhile"),
        (1.0, "read: 7 keys held"),
    ],
)
def test_claims_are_read_when_all_of_them_are(ratio: float, said: str) -> None:
    """Nothing is rounded up to the whole."""
    assert said_of_claims(ratio, 7) == said
