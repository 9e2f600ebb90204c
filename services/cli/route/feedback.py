"""Reading what was said of answers, and the requests and results it is about, from Kafka."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol, TypeVar

from services.cli.route.labels import Label, Pair, labels_from_feedback
from services.shared.codec.records import decode_record
from services.shared.domain.errors import PoisonRecord
from services.shared.domain.events import (
    Event,
    FeedbackGiven,
    InferenceFinished,
    InferenceRequested,
)
from services.shared.domain.topics import REQUEST_TOPICS, Topic
from services.shared.stream.bulk import Read


class Reader(Protocol):
    """Reads a topic to its end."""

    def batches(self, *, follow: bool) -> Iterator[Sequence[Read]]:
        """Hand out the records."""
        ...

    def close(self) -> None:
        """Disconnect."""
        ...


Record = TypeVar("Record", bound=Event)


class Said(NamedTuple):
    """All feedback there is, with the results and the requests that it is about, by request id."""

    given: list[FeedbackGiven]
    finished: dict[str, InferenceFinished]
    requests: dict[str, InferenceRequested]


def read_labels(reader: Callable[[str], Reader], pair: Pair) -> list[Label]:
    """Labels from all feedback there is.

    Args:
        reader: Opens a topic.
        pair: The targets that labels are about.
    """
    return labels_from_feedback(*read_feedback(reader), pair)


def read_feedback(reader: Callable[[str], Reader]) -> Said:
    """Read all feedback there is, by a reader that opens a topic."""
    given = {
        feedback.feedback_id: feedback
        for _, feedback in _records(reader(Topic.FEEDBACK), FeedbackGiven)
    }
    wanted = {feedback.request_id for feedback in given.values()}
    finished: dict[str, InferenceFinished] = {}
    for _, result in _records(reader(Topic.INFERENCE_RESULTS), InferenceFinished, wanted):
        finished.setdefault(result.request_id, result)  # the first in log order is the truth
    requests: dict[str, InferenceRequested] = {}
    for topic in REQUEST_TOPICS:
        for _, request in _records(reader(topic), InferenceRequested, wanted):
            requests.setdefault(request.request_id, request)
    return Said(list(given.values()), finished, requests)


def _records(
    reader: Reader, kind: type[Record], keys: set[str] | None = None
) -> Iterator[tuple[str, Record]]:
    """The records of a topic with one of some keys; what is no record of ours is passed over.

    Others may write to these topics, and a label less is no harm.
    """
    try:
        for records in reader.batches(follow=False):
            for record in records:
                key = (record.key or b"").decode(errors="replace")
                if record.value is None or (keys is not None and key not in keys):
                    continue
                try:
                    yield key, decode_record(record.value, kind)
                except PoisonRecord:
                    continue
    finally:
        reader.close()
