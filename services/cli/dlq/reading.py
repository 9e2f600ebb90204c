"""Reading dead letters, and how the requests ended that they are about."""

import re
from collections.abc import Iterable, Mapping, Sequence

from services.cli.dlq.log import Log, Progress
from services.cli.errors import CommandError
from services.shared.codec.headers import REQUEST_ID, SIGNATURE
from services.shared.codec.records import RECORDS, decode_record
from services.shared.codec.topics import packaged_topics
from services.shared.domain.dead_letter_table import Found, Letters, Selection
from services.shared.domain.dead_letters import Mark, Place, original_headers, read_dead_letter
from services.shared.domain.errors import PoisonRecord
from services.shared.domain.events import Event, InferenceFinished
from services.shared.domain.ids import origin_from_request_id
from services.shared.domain.topics import Topic, dead_letters
from services.shared.stream.bulk import Read
from services.shared.stream.subjects import subjects_of

_CLOCK_SKEW_MS = 10_000
_SHOWN_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


def dead_letter_topics(log: Log, topic: str) -> list[str]:
    """The dead-letter topics that are meant, as far as the cluster has them.

    Args:
        log: The cluster.
        topic: A topic or its dead-letter topic; empty = all.

    Raises:
        CommandError: There is none of that name.
    """
    declared = [spec.dlq for spec in packaged_topics().values() if spec.dlq]
    there = log.partition_counts()
    if not topic:
        return [name for name in declared if name in there]
    name = topic if topic in declared else dead_letters(topic)
    if name not in declared:
        raise CommandError(f"'{topic}' has no dead letters. They are of: {', '.join(declared)}")
    if name not in there:
        raise CommandError(f"The cluster has no topic {name}; 'millrace topics apply' makes it.")
    return [name]


def read_letters(log: Log, topics: Iterable[str], *, on_progress: Progress) -> list[Found]:
    """Read all dead letters of topics, the oldest first; copies of one are one."""
    found = []
    for topic in topics:
        letters = Letters()
        reader = log.reader(topic)
        try:
            for records in reader.batches(follow=False):
                on_progress(topic, len(records), reader.total)
                for record in records:
                    _take(letters, record)
        finally:
            reader.close()
        found += letters.all()
    return sorted(found, key=lambda it: (it.letter.died_at_ms, it.letter.origin))


def described(record: Read) -> Found | Mark | None:
    """What a record of a dead-letter topic is; None = nothing of ours."""
    place = Place(record.topic, record.partition, record.offset)
    letter = read_dead_letter(place, record.headers, timestamp_ms=record.timestamp_ms)
    if letter is None or isinstance(letter, Mark):
        return letter
    event = decoded(letter.origin.topic, record.value)
    headers = dict(original_headers(record.headers))
    return Found(
        letter=letter,
        request_ids=_request_ids(event, headers),
        size_bytes=max(letter.omitted_bytes, len(record.value or b"")),
        is_readable=event is not None,
        is_signed=SIGNATURE in headers,
    )


def decoded(topic: str, value: bytes | None) -> Event | None:
    """The record of a topic; None = it cannot be decoded."""
    spec = packaged_topics().get(topic)
    if spec is None or value is None:
        return None
    try:
        return decode_record(value, RECORDS[spec.record])
    except PoisonRecord:
        return None


def read_ends(
    log: Log, letters: Sequence[Found], *, on_progress: Progress
) -> dict[str, InferenceFinished]:
    """The first terminal record of each request that dead letters are about, where there is one."""
    wanted = {request_id for found in letters for request_id in found.request_ids}
    if not wanted:
        return {}
    ends: dict[str, InferenceFinished] = {}
    reader = log.reader(Topic.INFERENCE_RESULTS, since_ms=_earliest_ms(letters))
    try:
        for records in reader.batches(follow=False):
            on_progress(Topic.INFERENCE_RESULTS, len(records), reader.total)
            for record in records:
                request_id = (record.key or b"").decode(errors="replace")
                if request_id in wanted and request_id not in ends:
                    event = decoded(Topic.INFERENCE_RESULTS, record.value)
                    if isinstance(event, InferenceFinished):
                        ends[request_id] = event
            if len(ends) == len(wanted):
                break
    finally:
        reader.close()
    return ends


def chosen(letters: Iterable[Found], selection: Selection) -> list[Found]:
    """Those that are meant.

    Raises:
        CommandError: One that was named is not there.
    """
    meant = [found for found in letters if selection.holds(found)]
    missing = selection.ids - {found.letter.origin for found in letters}
    if missing:
        raise CommandError(
            f"No dead letter of {', '.join(sorted(map(str, missing)))}: 'millrace dlq list' shows "
            "which there are. They are kept for 14 days."
        )
    return meant


def has_ended(found: Found, ends: Mapping[str, InferenceFinished]) -> bool:
    """Whether all requests of a dead letter have ended, so that a redrive can answer nobody.

    Results are not about a request that waits: whoever reads them wants them in any case.
    """
    is_result = found.letter.origin.topic == Topic.INFERENCE_RESULTS
    return not is_result and bool(found.request_ids) and all(r in ends for r in found.request_ids)


def end_text(end: InferenceFinished | None) -> str:
    """How a request ended, in a word or two."""
    if end is None:
        return "has not ended"
    return f"{end.outcome} ({end.error.code})" if end.error else end.outcome


def _take(letters: Letters, record: Read) -> None:
    match described(record):
        case Found() as found:
            letters.take(found)
        case Mark() as mark:
            letters.mark(mark)
        case None:
            pass  # somebody else's record: no dead letter of ours, and nothing to say of it


def _request_ids(event: Event | None, headers: Mapping[str, bytes]) -> tuple[str, ...]:
    ids = [subject.request.request_id for subject in subjects_of(event)] if event else []
    if isinstance(event, InferenceFinished):
        ids = [event.request_id]
    if not ids:
        ids = [headers.get(REQUEST_ID, b"").decode("ascii", "replace")]
    return tuple(request_id for request_id in ids if _SHOWN_ID.fullmatch(request_id))


def _earliest_ms(letters: Sequence[Found]) -> int | None:
    """Before any of their requests can have ended; None = that is not known."""
    if any(found.letter.redrives for found in letters):
        return None  # the record is younger than its request
    times = [min(it.letter.written_at_ms, it.letter.died_at_ms) for it in letters]
    for found in letters:
        origins = [origin_from_request_id(request_id) for request_id in found.request_ids]
        times += [origin.accepted_at_ms for origin in origins if origin]
    return max(0, min(times) - _CLOCK_SKEW_MS)
