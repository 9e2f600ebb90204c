"""What happened in a scenario, from four witnesses: clients, topics, the provider, the harness.

All times are unix seconds of the one machine that everything runs on, or unix ms where the name or
a record says so. Nothing here, and nothing in this folder, imports the product.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

RESULTS = "inference-results"
ATTEMPTS = "model-call-attempts"
LEDGER = "usage-ledger"
REQUESTS = ("inference-requests-p0", "inference-requests-p1", "inference-requests-p2")
MISSES = "cache-misses"
ROUTED = "routed-requests"
BATCHES = ("request-batches-p0", "request-batches-p1", "request-batches-p2")
RETRIES = ("model-caller-retry-5s", "model-caller-retry-30s", "model-caller-retry-5m")
DEAD = "-dlq"


class Violation(msgspec.Struct, frozen=True):
    """A promise that was not kept.

    Attributes:
        invariant: Which one, e.g. ``I1``.
        subject: Request, call, record or service that shows it.
        what: What is wrong.
    """

    invariant: str
    subject: str
    what: str

    def __str__(self) -> str:
        """Render for people."""
        return f"{self.invariant} {self.subject}: {self.what}"


class Event(msgspec.Struct, frozen=True):
    """An event of a stream as its client saw it.

    Attributes:
        data: What follows ``data: ``.
        id: Its id; empty = it had none.
    """

    data: str
    id: str = ""


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """Something that a client did, folded from the lines of the operation log.

    Attributes:
        op: Its number.
        process: The client that did it; one does one thing at a time.
        kind: ``ask``, ``resume``, ``cancel`` or ``look``.
        verdict: ``ok`` = answered whole, ``fail`` = refused, ``info`` = nobody knows.
        invoked_s: When it began.
        ended_s: When it ended.
        gateway: Name of the gateway that it spoke to.
        tenant: Whose key it bore.
        key: Its Idempotency-Key; empty = none.
        fingerprint: Of what was asked: path and body.
        canary: Word that its prompt and therefore its answer holds.
        expected: Text that the provider gives for this prompt; empty = unknown.
        is_stream: Whether a stream was asked for.
        target: Request that is resumed, cancelled or looked at.
        after: Id of the last event that a resuming client has; empty = from the start.
        status: HTTP status; 0 = none was seen.
        request_id: Of the answer; empty = none was seen.
        body: An answer in one piece.
        events: An answer in events.
        error_code: Code of the error that came; empty = none.
        retry_after: The answer's Retry-After.
        is_cut: The connection broke, or the client gave up waiting.
        is_left: The client left on purpose.
        longest_gap_s: Longest silence inside a stream.
    """

    op: int
    process: int = 0
    kind: str = "ask"
    verdict: str = "info"
    invoked_s: float
    ended_s: float = 0.0
    gateway: str = "gateway"
    tenant: str
    key: str = ""
    fingerprint: str = ""
    canary: str = ""
    expected: str = ""
    is_stream: bool = False
    target: str = ""
    after: str = ""
    status: int = 0
    request_id: str = ""
    body: str = ""
    events: tuple[Event, ...] = ()
    error_code: str = ""
    retry_after: str = ""
    is_cut: bool = False
    is_left: bool = False
    longest_gap_s: float = 0.0

    @property
    def is_accepted(self) -> bool:
        """Whether its client was told that it is served."""
        return 200 <= self.status < 300

    @property
    def is_ok(self) -> bool:
        """Whether it was answered whole."""
        return self.verdict == "ok"


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A record as it lies in the log.

    Attributes:
        topic: Where.
        partition: Where.
        offset: Where.
        at_ms: Its timestamp.
        key: Its key.
        value: Its bytes.
        headers: Its headers, in order.
        record: What the bytes say; None = they cannot be read.
    """

    topic: str
    partition: int = 0
    offset: int
    at_ms: int = 0
    key: bytes | None = None
    value: bytes | None = None
    headers: tuple[tuple[str, bytes], ...] = ()
    record: Mapping[str, Any] | None = None

    @property
    def place(self) -> tuple[str, int, int]:
        """Topic, partition and offset."""
        return self.topic, self.partition, self.offset

    def header(self, name: str) -> bytes | None:
        """The last header of a name."""
        return next((value for key, value in reversed(self.headers) if key == name), None)


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """A call as the provider wrote it down.

    Attributes:
        id: The provider's own.
        attempt_id: What the caller calls it; empty = it said nothing.
        model: As asked for.
        started_ms: When it arrived.
        outcome: ``ok`` = the whole answer was sent.
        input_tokens: What is billed.
        output_tokens: What is billed.
    """

    id: str
    attempt_id: str
    model: str = ""
    started_ms: int
    outcome: str = "ok"
    input_tokens: int = 0
    output_tokens: int = 0

    @property
    def request_id(self) -> str:
        """The request that the attempt is part of."""
        return self.attempt_id.rpartition("-")[0]


class Lag(msgspec.Struct, frozen=True, kw_only=True):
    """How far a group is, at the very end.

    Attributes:
        group: Consumer group.
        topic: What it reads.
        partition: Of the topic.
        committed: The next offset it will read; -1 = it never committed.
        end: The next offset to be written.
    """

    group: str
    topic: str
    partition: int
    committed: int
    end: int


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """What was done to the stack.

    Attributes:
        name: What it was.
        begun_s: When it was done.
        healed_s: When the harness was through with it.
        is_total: Whether nobody can be served meanwhile.
        lost: What a gateway needs and did not have: ``kafka`` or nothing.
        victims: Processes that were harmed.
        recovery_s: How soon after the healing requests must be answered.
        evidence: What proves that it happened.
        forgets: Whether what was acknowledged before may be gone.
    """

    name: str
    begun_s: float
    healed_s: float
    is_total: bool = False
    lost: str = ""
    victims: tuple[str, ...] = ()
    recovery_s: float = 20.0
    evidence: str = ""
    forgets: bool = False


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """What a gateway said of itself.

    Attributes:
        at_s: When it was asked.
        gateway: Its name.
        livez: Status of ``/livez``; 0 = nobody answered.
        readyz: Status of ``/readyz``; 0 = nobody answered.
    """

    at_s: float
    gateway: str
    livez: int
    readyz: int


class Poison(msgspec.Struct, frozen=True, kw_only=True):
    """A bad record that the harness wrote.

    Attributes:
        topic: Where.
        partition: Where.
        offset: Where.
    """

    topic: str
    partition: int
    offset: int


class History(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that the checks may look at.

    Attributes:
        operations: What clients did in this scenario.
        topics: What lies in the log from the first offset on, by topic.
        calls: What the provider wrote down.
        lags: How far groups are.
        faults: What was done.
        health: What gateways said of themselves.
        poisons: Bad records that were written.
        canaries: The word of each tenant.
        secrets: Texts that may stand nowhere.
    """

    operations: tuple[Operation, ...] = ()
    topics: Mapping[str, Sequence[Entry]] = {}
    calls: tuple[Call, ...] = ()
    lags: tuple[Lag, ...] = ()
    faults: tuple[Fault, ...] = ()
    health: tuple[Health, ...] = ()
    poisons: tuple[Poison, ...] = ()
    canaries: Mapping[str, str] = {}
    secrets: tuple[str, ...] = ()

    def entries(self, *topics: str) -> Iterator[Entry]:
        """Records of topics."""
        for topic in topics:
            yield from self.topics.get(topic, ())

    def dead_letters(self) -> Iterator[Entry]:
        """Records of all dead-letter topics."""
        yield from self.entries(*(topic for topic in sorted(self.topics) if topic.endswith(DEAD)))

    def asked(self) -> Iterator[Operation]:
        """What was asked for."""
        return (operation for operation in self.operations if operation.kind == "ask")

    def readings(self) -> Iterator[Operation]:
        """Streams that were accepted, from the start or resumed."""
        for operation in self.operations:
            is_reading = operation.kind == "resume" or (
                operation.kind == "ask" and operation.is_stream
            )
            if is_reading and operation.is_accepted:
                yield operation


def request_ids(record: Mapping[str, Any] | None) -> tuple[str, ...]:
    """The requests that a record of any topic is about."""
    if record is None:
        return ()
    if "members" in record:
        return tuple(member["request"]["request_id"] for member in record["members"])
    about = record.get("request", record)
    found: str = about.get("request_id", "")
    return (found,) if found else ()


def requests_in(entries: Iterator[Entry]) -> set[str]:
    """All requests that records are about."""
    return {request_id for entry in entries for request_id in request_ids(entry.record)}


def first_terminals(history: History) -> dict[str, Entry]:
    """The terminal record that counts, by request: the first in the log."""
    first: dict[str, Entry] = {}
    for entry in history.entries(RESULTS):
        for request_id in request_ids(entry.record):
            known = first.get(request_id)
            if known is None or (entry.partition, entry.offset) < (known.partition, known.offset):
                first[request_id] = entry
    return first
