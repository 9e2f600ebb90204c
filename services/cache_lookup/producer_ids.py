"""Which request each id of a Kafka producer stands for."""

import hashlib
from collections import OrderedDict

from services.shared.domain.events import InferenceRequested

MOST_IDS = 100_000
"""Ids that are remembered, the last ones; 0.25 KB each."""

_DIGEST_BYTES = 16


class ProducerIds:
    """The ids that one process has met, each with what was asked under it first."""

    def __init__(self, *, most: int = MOST_IDS) -> None:
        """Know of none.

        Args:
            most: Ids that are remembered.
        """
        self._asked: OrderedDict[str, bytes] = OrderedDict()
        self._most = most

    def is_taken(self, record: InferenceRequested) -> bool:
        """Whether another request has a record's id; an id that is new is the record's from now on.

        A record that comes again byte for byte is no other request. What does not follow from
        operation and body, such as a deadline, makes none either.
        """
        hashed = hashlib.sha256(record.operation.encode() + b"\0")
        hashed.update(record.body)
        digest = hashed.digest()[:_DIGEST_BYTES]
        first = self._asked.setdefault(record.request_id, digest)
        if len(self._asked) > self._most:
            self._asked.popitem(last=False)
        return first != digest
