"""Dead letters: the original bytes with Spring's header names, and when to stop making them."""

import struct
from collections import deque

from services.shared.codec.headers import Headers
from services.shared.domain.errors import MustStop, PoisonRecord
from services.shared.stream.client import Raw

MAX_CONSECUTIVE = 50
WINDOW_RECORDS = 1000
MAX_RATIO = 0.01
_MESSAGE_CHARS = 500


def dead_letter_headers(raw: Raw, poison: PoisonRecord, *, group: str) -> Headers:
    """Headers of a dead letter: the record's own, then where it came from and why.

    Numbers are big-endian, as Spring's ``DeadLetterPublishingRecoverer`` writes them.
    """
    headers: Headers = [(name, value or b"") for name, value in raw.headers]
    headers += [
        ("kafka_dlt-original-topic", raw.topic.encode()),
        ("kafka_dlt-original-partition", struct.pack(">i", raw.partition)),
        ("kafka_dlt-original-offset", struct.pack(">q", raw.offset)),
        ("kafka_dlt-original-timestamp", struct.pack(">q", raw.timestamp)),
        ("kafka_dlt-original-timestamp-type", b"LogAppendTime" if raw.timestamp_type else b"CreateTime"),
        ("kafka_dlt-original-consumer-group", group.encode()),
        ("kafka_dlt-exception-fqcn", f"millrace.{poison.reason}".encode()),
        ("kafka_dlt-exception-message", poison.detail[:_MESSAGE_CHARS].encode()),
    ]
    return headers


class PoisonLimit:
    """Stops a service that would drain an internal topic into its dead letters."""

    def __init__(self, *, topic: str) -> None:
        self._topic = topic
        self._consecutive = 0
        self._recent: deque[bool] = deque(maxlen=WINDOW_RECORDS)
        self._poison_in_window = 0

    def good(self) -> None:
        """A record was fine."""
        self._consecutive = 0
        self._note(is_poison=False)

    def poison(self) -> None:
        """A record was poison.

        Raises:
            MustStop: Too many were: the fault is more likely in us than in the records.
        """
        self._consecutive += 1
        self._note(is_poison=True)
        window_full = len(self._recent) == WINDOW_RECORDS
        if self._consecutive > MAX_CONSECUTIVE or (
            window_full and self._poison_in_window > WINDOW_RECORDS * MAX_RATIO
        ):
            raise MustStop(
                f"{self._topic}: {self._consecutive} poison records in a row, "
                f"{self._poison_in_window} of the last {len(self._recent)}; look at "
                f"{self._topic}-dlq before starting again"
            )

    def _note(self, *, is_poison: bool) -> None:
        if len(self._recent) == WINDOW_RECORDS:
            self._poison_in_window -= self._recent[0]
        self._recent.append(is_poison)
        self._poison_in_window += is_poison
