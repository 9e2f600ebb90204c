"""Which request an id of a Kafka producer stands for."""

import pytest

from services.cache_lookup.producer_ids import ProducerIds
from tests.support.example_events import BODY, requested


@pytest.mark.parametrize(
    ("changes", "is_taken"),
    [
        ({}, False),
        ({"deadline_at": 7, "feature": "f", "key_id": "k"}, False),
        ({"body": BODY + b" "}, True),
        ({"operation": "embeddings"}, True),
    ],
)
def test_an_id_is_one_operation_and_body(changes: dict[str, object], *, is_taken: bool) -> None:
    """What comes again is the same request, and the first one keeps its id."""
    ids = ProducerIds()
    assert not ids.is_taken(requested(1))
    assert ids.is_taken(requested(1, **changes)) is is_taken
    assert not ids.is_taken(requested(1))
    assert not ids.is_taken(requested(2, **changes))


def test_the_oldest_ids_are_forgotten() -> None:
    """What is remembered is bounded."""
    ids = ProducerIds(most=2)
    for number in (1, 2, 3):
        assert not ids.is_taken(requested(number))
    assert ids.is_taken(requested(3, body=b"{}"))
    assert ids.is_taken(requested(2, body=b"{}"))
    assert not ids.is_taken(requested(1, body=b"{}"))
