"""Wires the gateway."""

import asyncio
import logging
import os
import sys
from collections.abc import Callable, Coroutine, Mapping
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import uvloop
from prometheus_client import CollectorRegistry, Gauge

from services.gateway.app import GatewayApp, Routes
from services.gateway.decide import known_keys
from services.gateway.desk import MS_PER_S, Desk, InferenceMetrics
from services.gateway.disk_guard import DiskGuard
from services.gateway.front_door.door import FrontDoor
from services.gateway.front_door.limits import FrontDoorLimits
from services.gateway.front_door.server import ServerHooks, serve, stop_on_signals
from services.gateway.health import said_of_claims
from services.gateway.health_api import HealthApi
from services.gateway.idempotency import Idempotency, IdempotencyMetrics
from services.gateway.leaving import end_all, end_when
from services.gateway.refusal_metrics import RefusalMetrics
from services.gateway.replies import Replies
from services.gateway.routes import routes
from services.gateway.settings import GatewaySettings
from services.gateway.streams import Streams
from services.shared.adapters.data_disk import DataDisk
from services.shared.adapters.environment import (
    configuration_from_environment,
    process_environment,
    settings_from_environment,
)
from services.shared.adapters.secret_file import read_secret
from services.shared.adapters.system_clock import SystemClock
from services.shared.codec.records import prepare_codec
from services.shared.codec.topics import packaged_topics
from services.shared.domain.admission.limits import limits_from_configuration
from services.shared.domain.errors import InvalidConfiguration
from services.shared.domain.ids import RANDOM_BYTES, new_request_id
from services.shared.domain.name_patterns import NamePatterns
from services.shared.domain.topics import Topic
from services.shared.ports.chunk_cursors import ChunkRecord
from services.shared.ports.clock import Clock
from services.shared.stream.chunk_cursors import KafkaChunkCursors
from services.shared.stream.chunk_reader import follow
from services.shared.stream.claim_log import ClaimLog
from services.shared.stream.client import Producer, Reader, TopicPartition
from services.shared.stream.collector import settle_garbage_collector
from services.shared.stream.connecting import connected_producer, opened_replies, watch
from services.shared.stream.control_publisher import KafkaControlPublisher
from services.shared.stream.crash_points import crash_point
from services.shared.stream.feedback_publisher import KafkaFeedbackPublisher
from services.shared.stream.kafka_log import KafkaLog
from services.shared.stream.publisher import KafkaRequestPublisher
from services.shared.stream.record_finder import KafkaRecordFinder
from services.shared.stream.service import (
    EXIT_CONFIGURATION,
    connection_from,
    written_topics,
)
from services.shared.telemetry.logs import set_up_logging
from services.shared.telemetry.probes import serve_probes

SERVICE = "gateway"
_LOG = logging.getLogger("services.gateway")


class _LogHealth:
    """Remembers whether the log confirmed what was last published."""

    def __init__(self) -> None:
        self.why = ""

    def note(self, confirmed: bool) -> None:  # noqa: FBT001  # a callback's one fact
        """A publication was confirmed, or not."""
        self.why = "" if confirmed else "it does not answer"


def _log(settings: GatewaySettings, *, on_lost: Callable[[], None]) -> KafkaLog:
    return KafkaLog(
        connection_from(settings, client_id=f"{SERVICE}-{settings.slot}"),
        topics=written_topics(packaged_topics()),
        on_lost=on_lost,
    )


async def _run(  # wiring, one statement a part
    settings: GatewaySettings, environ: Mapping[str, str]
) -> None:
    clock = SystemClock()
    configuration = configuration_from_environment(environ)
    secret = read_secret(settings.secret_file)
    prepare_codec()
    registry = CollectorRegistry()
    stop, lost = stop_on_signals(), asyncio.Event()
    log = _log(settings, on_lost=lost.set)
    async with AsyncExitStack() as stack:
        producer = await connected_producer(log, stop=stop)
        if producer is None:
            return
        stack.push_async_callback(producer.stop)
        reply_partition = settings.slot % producer.partition_count(Topic.RESULT_CHUNKS)
        reader = await opened_replies(log, reply_partition, stop=stop)
        if reader is None:
            return
        stack.push_async_callback(reader.stop)
        streams = await _streams(
            log,
            producer,
            reader,
            own_partition=reply_partition,
            clock=clock,
            retention_ms=configuration.streams.retention_s * MS_PER_S,
        )
        stack.push_async_callback(streams.close)
        replies = Replies(lead=streams.lead)
        health = _LogHealth()
        arrivals = follow(reader, _to_both(replies, streams))
        claims = ClaimLog(log, producer, clock=clock)
        disk = await _disk_guard(settings, registry)
        for work in (
            arrivals,
            watch(reader, health.note),
            claims.follow(),
            end_when(lost, replies, streams),
            *_looks(disk),
        ):
            _keep_running(work, stack=stack, stop=stop)
        publisher = KafkaRequestPublisher(
            producer, secret=secret, clock=clock, on_outcome=health.note
        )
        finder = KafkaRecordFinder(log, producer)
        desk = Desk(
            publisher=publisher,
            controls=KafkaControlPublisher(producer),
            feedback=KafkaFeedbackPublisher(producer),
            replies=replies,
            streams=streams,
            keys=known_keys(configuration.keys),
            models=NamePatterns(configuration.models),
            limits=limits_from_configuration(configuration.limits),
            reply_partition=reply_partition,
            clock=clock,
            metrics=InferenceMetrics(registry),
            idempotency=Idempotency(
                book=claims,
                streams=streams,
                finder=finder,
                publisher=publisher,
                clock=clock,
                metrics=IdempotencyMetrics(registry, keys_held=lambda: len(claims)),
            ),
            disk=disk,
            pass_by=crash_point,
        )
        health_api = _health_api(registry, health, claims, disk)
        table = routes(desk, models=configuration.models, finder=finder, health=health_api)
        _serve_own_probes(settings, registry, health_api)
        await _serve(settings, table, desk, health_api, registry=registry, stop=stop)


async def _disk_guard(settings: GatewaySettings, registry: CollectorRegistry) -> DiskGuard | None:
    if not settings.data:
        return None
    guard = DiskGuard(DataDisk(Path(settings.data)), registry=registry)
    await guard.look()  # before the first request comes
    return guard


def _looks(disk: DiskGuard | None) -> list[Coroutine[None, None, None]]:
    return [] if disk is None else [disk.watch()]


def _health_api(
    registry: CollectorRegistry, log: _LogHealth, claims: ClaimLog, disk: DiskGuard | None
) -> HealthApi:
    checks: dict[str, Callable[[], str]] = {"kafka": lambda: log.why}
    levels: dict[str, Callable[[], str]] = {
        "idempotency-keys": lambda: said_of_claims(claims.read_ratio, len(claims))
    }
    if disk is not None:
        checks["disk"] = lambda: disk.why_not_ready
        levels["disk"] = lambda: disk.level.value
    return HealthApi(registry=registry, checks=checks, levels=levels)


def _keep_running(
    work: Coroutine[None, None, None], *, stack: AsyncExitStack, stop: asyncio.Event
) -> None:
    task = asyncio.create_task(work)
    task.add_done_callback(lambda _: stop.set())  # without it nobody would be answered
    stack.push_async_callback(_ended, task)


def _to_both(replies: Replies, streams: Streams) -> Callable[[ChunkRecord], None]:
    def deliver(record: ChunkRecord) -> None:
        replies.deliver(record)
        streams.deliver(record)

    return deliver


async def _streams(  # noqa: PLR0913  # named, and all of one thing
    log: KafkaLog,
    producer: Producer,
    reader: Reader,
    *,
    own_partition: int,
    clock: Clock,
    retention_ms: float,
) -> Streams:
    where = TopicPartition(Topic.RESULT_CHUNKS, own_partition)
    count = producer.partition_count(Topic.RESULT_CHUNKS)
    return Streams(
        KafkaChunkCursors(log, partition_count=count),
        own_partition=own_partition,
        live_from=await reader.position(where),
        clock=clock,
        retention_ms=retention_ms,
    )


def _serve_own_probes(
    settings: GatewaySettings, registry: CollectorRegistry, health_api: HealthApi
) -> None:
    if settings.metrics_port >= 0:
        serve_probes(
            host=settings.metrics_host,
            port=settings.metrics_port,
            registry=registry,
            is_live=lambda: True,
            is_ready=lambda: health_api.is_ready,
        )


async def _serve(  # noqa: PLR0913  # everything comes together here
    settings: GatewaySettings,
    table: Routes,
    desk: Desk,
    health_api: HealthApi,
    *,
    registry: CollectorRegistry,
    stop: asyncio.Event,
) -> None:
    new_id = _request_ids(desk.clock, desk.reply_partition)
    door = FrontDoor(limits=FrontDoorLimits(), new_request_id=new_id)
    registry.register(RefusalMetrics(door))
    in_flight = Gauge("millrace_in_flight_records", "Requests being answered.", registry=registry)
    in_flight.set_function(lambda: desk.replies.count)
    followed = Gauge("millrace_followed_streams", "Streams being followed.", registry=registry)
    followed.set_function(lambda: desk.streams.count)
    settle_garbage_collector()
    await serve(
        GatewayApp(table, new_request_id=new_id),
        door=door,
        address=(settings.gateway_host, settings.gateway_port),
        stop=stop,
        hooks=ServerHooks(
            on_ready=_say_where,
            on_shutdown=health_api.leave,
            on_drain_over=lambda: end_all(desk.replies, desk.streams),
        ),
    )


async def _ended(task: "asyncio.Task[None]") -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


def _request_ids(clock: Clock, reply_partition: int) -> Callable[[], str]:
    def new() -> str:
        return new_request_id(
            now_ms=int(clock.now_ms()),
            random=os.urandom(RANDOM_BYTES),
            reply_partition=reply_partition,
        )

    return new


def _say_where(host: str, port: int) -> None:
    _LOG.info("listening", extra={"address": f"http://{host}:{port}/v1"})


def main() -> None:
    """Run the service."""
    environ = process_environment()
    settings = settings_from_environment(GatewaySettings, environ)
    set_up_logging(service=SERVICE, level=settings.log_level)
    try:
        uvloop.run(_run(settings, environ))
    except InvalidConfiguration as error:
        _LOG.error("%s", error)  # the text is the whole story
        sys.exit(EXIT_CONFIGURATION)


if __name__ == "__main__":
    main()
