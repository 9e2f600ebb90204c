"""Requests on their way through all stages, and what the topics say of them."""

import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from services.shared.codec.headers import headers_of_request
from services.shared.codec.records import decode_record, encode_record
from services.shared.domain.configuration import Configuration
from services.shared.domain.errors import PoisonRecord
from services.shared.domain.events import (
    ControlRequested,
    InferenceFinished,
    InferenceRequested,
    ResultChunk,
)
from services.shared.domain.topics import Topic
from tests.support.example_events import requested
from tests.support.pipeline import Pipeline
from tests.support.scripted_provider import ScriptedProvider, answered
from tests.support.stages import Stages, configuration, publish

STREAMING = b'{"model":"small","stream":true,"messages":[{"role":"user","content":"How deep?"}]}'


class Travel:
    """A whole pipeline, its providers, and its clients.

    Attributes:
        pipeline: The log and the processes.
        stages: The stages.
        first: The provider that is asked first.
        second: The provider that is asked next.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        *,
        first: ScriptedProvider | None = None,
        second: ScriptedProvider | None = None,
        settings: Configuration | None = None,
    ) -> None:
        """Wire it; providers answer everything unless others are given."""
        self.pipeline = pipeline
        self.first = first or ScriptedProvider(answered)
        self.second = second or ScriptedProvider(answered)
        self.stages = Stages(
            {"first": self.first, "second": self.second},
            configuration=settings or configuration(),
        )
        self._ends: list[InferenceFinished] = []
        self._chunks: list[ResultChunk] = []

    async def start(self, *, without: str = "", slots: Path | None = None) -> None:
        """Start all stages, or all but one; in slots where a folder for them is given."""
        for stage in self.stages.all():
            if stage.service != without:
                await self.pipeline.start(stage, slots=slots)

    async def kill_and_restart(self, service: str, *, slots: Path) -> None:
        """End a stage as SIGKILL does, and start it again in its slot."""
        (process,) = [it for it in self.pipeline.processes if it.stage.service == service]
        await process.kill()
        await self.pipeline.start(process.stage, slots=slots)

    def request(self, number: int = 1, **changes: Any) -> InferenceRequested:
        """A request that is accepted now and due in a minute; its client waits on partition 3."""
        now_ms = int(self.pipeline.clock.now_ms())
        fields = {"accepted_at": now_ms, "deadline_at": now_ms + 60_000, "reply_partition": 3}
        return requested(number, **{**fields, **changes})

    def streaming(self, number: int = 1, **changes: Any) -> InferenceRequested:
        """The same, of a request that wants a stream."""
        return self.request(number, **{"body": STREAMING, "stream": True, **changes})

    async def ask(self, *requests: InferenceRequested) -> None:
        """Publish requests as a gateway does, and let everything happen."""
        for request in requests:
            publish(self.pipeline, request)
        await self.pipeline.run_until_quiet()

    async def produce(
        self,
        record: InferenceRequested,
        *,
        topic: str = Topic.INFERENCE_REQUESTS_P2,
        **headers: str,
    ) -> InferenceFinished:
        """Publish a record as any Kafka producer does; return how it ended."""
        self.pipeline.pipe_raw(
            topic,
            encode_record(record),
            headers=[(name, value.encode()) for name, value in headers.items()],
        )
        await self.pipeline.run_until_quiet()
        return self.end_of(record.request_id)

    def ends(self) -> list[InferenceFinished]:
        """All terminal records, in log order."""
        for raw in self.pipeline.read_records(Topic.INFERENCE_RESULTS):
            with suppress(PoisonRecord):  # a test's own
                self._ends.append(decode_record(raw.value or b"", InferenceFinished))
        return self._ends

    def end_of(self, request_id: str) -> InferenceFinished:
        """The first terminal record of a request, which is the truth."""
        return next(it for it in self.ends() if it.request_id == request_id)

    def chunks_of(self, request_id: str) -> list[ResultChunk]:
        """What the waiting client gets, in log order."""
        for event in self.pipeline.read_output(Topic.RESULT_CHUNKS):
            assert isinstance(event, ResultChunk)
            self._chunks.append(event)
        return [it for it in self._chunks if it.request_id == request_id]


def text_of(chunks: Sequence[ResultChunk]) -> str:
    """The words of a stream."""
    fragments = [json.loads(line) for chunk in chunks for line in chunk.payload.split(b"\n")]
    return "".join(
        choice["delta"].get("content") or "" for it in fragments for choice in it["choices"]
    )


def message_of(finished: InferenceFinished) -> str:
    """The words of a whole answer."""
    document = json.loads(finished.response)
    return str(document["choices"][0]["message"]["content"])


def check_hops(finished: InferenceFinished, services: Sequence[str]) -> None:
    """The stages are all there, in order, and no time runs backwards."""
    assert [hop.service for hop in finished.hops] == list(services)
    times = [time for hop in finished.hops for time in (hop.received_ms, hop.finished_ms)]
    assert times == sorted(times)
    assert times[0] >= 0
    assert finished.finished_at - finished.accepted_at >= int(times[-1])
    for hop in finished.hops[1:]:
        assert hop.topic
        assert hop.partition >= 0
        assert hop.offset >= 0


def headers_are(request: InferenceRequested, headers: dict[str, bytes]) -> bool:
    """Whether a record carries the headers of its request."""
    return all(headers.get(name) == value for name, value in headers_of_request(request))


def cancel(pipeline: Pipeline, request: InferenceRequested) -> None:
    """Ask for a request to end, as a gateway does."""
    wish = ControlRequested(
        action="cancel",
        request_id=request.request_id,
        tenant=request.tenant,
        at=int(pipeline.clock.now_ms()),
        reason="asked",
    )
    pipeline.pipe_input(Topic.CONTROL, wish)
