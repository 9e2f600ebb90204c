"""The gateway's application without sockets and without Kafka: requests in, ASGI messages out."""

import asyncio
import functools
import json
from collections.abc import Callable, Coroutine, Iterable, Mapping, MutableMapping
from typing import Any, ParamSpec

import msgspec
from aiokafka.structs import ConsumerRecord
from prometheus_client import CollectorRegistry

from services.gateway.asgi import Request
from services.gateway.desk import Desk, InferenceMetrics
from services.gateway.disk_guard import DiskGuard
from services.gateway.replies import Replies
from services.gateway.streams import Streams
from services.shared.codec.records import encode_record
from services.shared.domain.admission.limits import Limits
from services.shared.domain.configuration import (
    Model,
    ModelTarget,
    VirtualKey,
    WhenClientLeaves,
)
from services.shared.domain.errors import PublicError, Unavailable, error_document
from services.shared.domain.events import (
    CacheMissed,
    ChunkKind,
    ControlRequested,
    FeedbackGiven,
    InferenceFinished,
    InferenceRequested,
    Operation,
    ResultChunk,
)
from services.shared.domain.ids import RANDOM_BYTES, new_request_id
from services.shared.domain.keys import SECRET_BYTES, key_hash, new_key
from services.shared.domain.name_patterns import NamePatterns
from services.shared.domain.topics import Topic
from services.shared.stream.chunk_cursors import KafkaChunkCursors
from services.shared.stream.client import Raw
from tests.support.claims import FakeBook, idempotency_of
from tests.support.fake_clock import START_MS, FakeClock, run_on_fake_time
from tests.support.memory_log import MemoryCluster

P = ParamSpec("P")
REPLY_PARTITION = 3
REPLY_PARTITIONS = 16
REQUEST_ID = new_request_id(
    now_ms=int(START_MS), random=bytes(RANDOM_BYTES), reply_partition=REPLY_PARTITION
)

KEY = new_key(environment="test", key_id="acme-1", random=b"a" * SECRET_BYTES)
OTHER_KEY = new_key(environment="test", key_id="other-1", random=b"o" * SECRET_BYTES)
NARROW_KEY = new_key(environment="test", key_id="narrow-1", random=b"n" * SECRET_BYTES)
HASTY_KEY = new_key(environment="test", key_id="hasty-1", random=b"h" * SECRET_BYTES)
REVOKED_KEY = new_key(environment="test", key_id="revoked-1", random=b"r" * SECRET_BYTES)
STRANGER_KEY = new_key(environment="test", key_id="stranger-1", random=b"s" * SECRET_BYTES)
"""Well formed, and nobody's."""

KEYS = {
    key.id: key
    for key in (
        VirtualKey(id="acme-1", tenant="acme", tier="gold", hash=key_hash(KEY)),
        VirtualKey(id="other-1", tenant="other", hash=key_hash(OTHER_KEY)),
        VirtualKey(
            id="narrow-1",
            tenant="acme",
            hash=key_hash(NARROW_KEY),
            models=("small", "lab-*"),
            priority=1,
        ),
        VirtualKey(
            id="hasty-1",
            tenant="acme",
            hash=key_hash(HASTY_KEY),
            when_client_leaves=WhenClientLeaves.CANCEL,
            attach_retries=False,
        ),
        VirtualKey(id="revoked-1", tenant="acme", hash=key_hash(REVOKED_KEY), disabled=True),
    )
}
_TARGET = (ModelTarget(provider="simulator"),)
MODELS = {
    "small": Model(targets=_TARGET),
    "large": Model(targets=_TARGET, operations=(Operation.CHAT,)),
    "lab-*": Model(targets=_TARGET),
    "openai/*": Model(targets=_TARGET),
}
CHAT = {"model": "small", "messages": [{"role": "user", "content": "How deep is the sea?"}]}


def on_fake_time(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run a test on a loop whose time only moves when nothing is left to do."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        run_on_fake_time(lambda _clock: test(*args, **kwargs))

    return run


class FakePublisher:
    """Takes requests, or refuses them.

    Attributes:
        published: What was taken.
        retries: Which of it was asked for again.
        is_away: Whether the log answers no more.
    """

    def __init__(self) -> None:
        """Take everything."""
        self.published: list[InferenceRequested] = []
        self.retries: list[bool] = []
        self.is_away = False

    async def publish(self, request: InferenceRequested, *, is_retry: bool = False) -> None:
        """Take a request."""
        await asyncio.sleep(0)
        if self.is_away:
            raise Unavailable("kafka", "the test says so")
        self.published.append(request)
        self.retries.append(is_retry)


class FakeControls:
    """Takes control records, or refuses them.

    Attributes:
        published: What was taken.
        is_away: Whether the log answers no more.
    """

    def __init__(self) -> None:
        """Take everything."""
        self.published: list[ControlRequested] = []
        self.is_away = False

    async def publish(self, control: ControlRequested) -> None:
        """Take a record."""
        await asyncio.sleep(0)
        if self.is_away:
            raise Unavailable("kafka", "the test says so")
        self.published.append(control)


class FakeFeedback:
    """Takes feedback, or refuses it.

    Attributes:
        published: What was taken.
        is_away: Whether the log answers no more.
    """

    def __init__(self) -> None:
        """Take everything."""
        self.published: list[FeedbackGiven] = []
        self.is_away = False

    async def publish(self, feedback: FeedbackGiven) -> None:
        """Take a record."""
        await asyncio.sleep(0)
        if self.is_away:
            raise Unavailable("kafka", "the test says so")
        self.published.append(feedback)


class FakeFinder:
    """What the topics know of one request."""

    def __init__(
        self, terminal: InferenceFinished | None = None, miss: CacheMissed | None = None
    ) -> None:
        """Know this much."""
        self.terminal = terminal
        self.miss = miss
        self.asked: list[str] = []
        self.is_away = False
        self.takes_s = 0.0

    async def find_terminal(self, request_id: str) -> InferenceFinished | None:
        """The terminal record."""
        self.asked.append(request_id)
        await asyncio.sleep(self.takes_s)
        if self.is_away:
            raise Unavailable("kafka", "the test says so")
        return self.terminal

    async def find_miss(self, _request_id: str) -> CacheMissed | None:
        """What the cache passed on."""
        return self.miss


class FakeExchange:
    """The front door's side of a request: whether the client is still there."""

    def __init__(self) -> None:
        """The client is there."""
        self.is_gone = False
        self.on_gone: Callable[[], None] | None = None

    def leave(self) -> None:
        """The client leaves."""
        self.is_gone = True
        if self.on_gone is not None:
            self.on_gone()


class Sent:
    """What an application sent: ASGI's ``send``.

    Attributes:
        parts: The body as it was written, one item a write.
        is_complete: Whether the answer has ended.
    """

    def __init__(self) -> None:
        """Nothing was sent yet."""
        self.status = 0
        self.header_lines: list[tuple[bytes, bytes]] = []
        self.parts: list[bytes] = []
        self.is_complete = False

    async def __call__(self, message: MutableMapping[str, Any]) -> None:
        """Take a message in ASGI's order."""
        assert not self.is_complete, "something was sent after the end"
        if message["type"] == "http.response.start":
            assert not self.status, "the answer began twice"
            self.status = message["status"]
            self.header_lines = list(message["headers"])
            return
        assert self.status, "a body without a beginning"
        self.parts.append(message.get("body", b""))
        self.is_complete = not message.get("more_body", False)

    @property
    def has_begun(self) -> bool:
        """Whether status and headers were sent."""
        return self.status != 0

    @property
    def headers(self) -> dict[str, str]:
        """Headers by name."""
        return {name.decode(): value.decode("latin-1") for name, value in self.header_lines}

    @property
    def body(self) -> bytes:
        """The whole body."""
        return b"".join(self.parts)

    @property
    def document(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        """OpenAI's error object."""
        error: dict[str, Any] = self.document["error"]
        return error


def http_request(
    path: str = "/v1/chat/completions",
    *,
    method: str = "POST",
    headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
    body: bytes = b"",
    exchange: FakeExchange | None = None,
) -> Request:
    """A request whose body arrives in one piece."""
    lines = headers.items() if isinstance(headers, Mapping) else headers

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    scope: dict[str, Any] = {
        "type": "http",
        "method": method,
        "path": path,
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in lines],
    }
    if exchange is not None:
        scope["millrace.exchange"] = exchange
    return Request(scope, receive, request_id=REQUEST_ID)


def chat_request(
    headers: Mapping[str, str] | None = None,
    *,
    key: str = KEY,
    exchange: FakeExchange | None = None,
    **fields: Any,
) -> Request:
    """A good chat request with changes."""
    return http_request(
        headers={
            "authorization": f"Bearer {key}",
            "content-type": "application/json",
            **(headers or {}),
        },
        body=msgspec.json.encode(CHAT | fields),
        exchange=exchange,
    )


def desk_of(
    clock: FakeClock,
    publisher: FakePublisher,
    *,
    controls: FakeControls | None = None,
    feedback: FakeFeedback | None = None,
    disk: DiskGuard | None = None,
    pass_by: Callable[[str], None] = lambda _place: None,
) -> Desk:
    """A desk with a few keys and models, on an empty log."""
    cluster = MemoryCluster(clock, topics={Topic.RESULT_CHUNKS: REPLY_PARTITIONS})
    log = KafkaChunkCursors(cluster.log(), partition_count=REPLY_PARTITIONS)
    streams = Streams(
        log, own_partition=REPLY_PARTITION, live_from=0, clock=clock, retention_ms=1_800_000
    )
    return Desk(
        publisher=publisher,
        controls=controls or FakeControls(),
        feedback=feedback or FakeFeedback(),
        replies=Replies(lead=streams.lead),
        streams=streams,
        keys=KEYS,
        models=NamePatterns(MODELS),
        limits=Limits(),
        reply_partition=REPLY_PARTITION,
        clock=clock,
        metrics=InferenceMetrics(CollectorRegistry()),
        idempotency=idempotency_of(
            book=FakeBook(clock), finder=FakeFinder(), publisher=publisher, clock=clock
        ),
        disk=disk,
        pass_by=pass_by,
    )


def chunk(seq: int, kind: ChunkKind = ChunkKind.DELTA, **changes: Any) -> ResultChunk:
    """A chunk of the request, of the first attempt of the first run."""
    fields = {
        "request_id": REQUEST_ID,
        "run": "run-1",
        "attempt": 1,
        "seq": seq,
        "kind": kind.value,
        "payload": b'{"n":%d}' % seq,
    }
    return ResultChunk(**{**fields, **changes})


def error_chunk_of(error: PublicError, seq: int = 0, **changes: Any) -> ResultChunk:
    """A chunk that ends the request with an error."""
    return chunk(
        seq,
        ChunkKind.ERROR,
        payload=error_document(error),
        status=error.meaning.status,
        **changes,
    )


def deliver(replies: Replies, *chunks: ResultChunk) -> None:
    """Let chunks arrive as the log would bring them."""
    for each in chunks:
        replies.deliver(record_of(each.request_id.encode(), encode_record(each)))


def record_of(key: bytes, value: bytes) -> Raw:
    """A record as it lies in the log."""
    return ConsumerRecord(
        topic=Topic.RESULT_CHUNKS,
        partition=REPLY_PARTITION,
        offset=0,
        timestamp=0,
        timestamp_type=0,
        key=key,
        value=value,
        checksum=None,
        serialized_key_size=len(key),
        serialized_value_size=len(value),
        headers=(),
    )


async def settled() -> None:
    """Let every task run until it waits, without letting time pass."""
    for _ in range(20):
        await asyncio.sleep(0)
