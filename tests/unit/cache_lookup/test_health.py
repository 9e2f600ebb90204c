"""What a look-up says of what it has read."""

import pytest

from services.cache_lookup.health import said_of_entries, said_of_judgements


@pytest.mark.parametrize(
    ("ratio", "said"),
    [
        (0.0, "reading: 0 %, 7 entries put; misses meanwhile"),
        (0.999, "reading: 99 %, 7 entries put; misses meanwhile"),
        (1.0, "read: 7 entries put"),
    ],
)
def test_entries_are_read_when_all_of_them_are(ratio: float, said: str) -> None:
    """Nothing is rounded up to the whole."""
    assert said_of_entries(ratio, 7) == said


def test_judgements_say_what_their_absence_means() -> None:
    """Nothing is served by evidence that is not known."""
    assert said_of_judgements(is_read=True) == "read"
    assert "nothing is served" in said_of_judgements(is_read=False)
