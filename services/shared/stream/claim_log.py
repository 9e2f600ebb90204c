"""The topic ``idempotency-keys``: writes claims, and follows those of all gateways.

Its index holds every key of the last day in memory, about 0.4 KB each. Keys beyond ``max_keys`` are
not claimed any more: to forget the oldest instead would break what their holders were promised.
"""

import asyncio
import logging

from aiokafka.structs import RecordMetadata

from services.shared.codec.records import decode_record, encode_record
from services.shared.domain.claims import READ_BACK_MS, Claims, Holder
from services.shared.domain.errors import PoisonRecord, Unavailable
from services.shared.domain.events import IdempotencyClaimed
from services.shared.domain.ids import partition_for
from services.shared.domain.topics import Topic
from services.shared.ports.clock import Clock
from services.shared.stream.client import Log, Polled, Producer, Raw, Reader, TopicPartition
from services.shared.stream.probing import ACKNOWLEDGE_WITHIN_S, Probing

_LOG = logging.getLogger(__name__)
_POLL_S = 1.0
_POLL_RECORDS = 500  # about 10 ms of work: others wait for it
_RETRY_S = 0.2
MAX_KEYS = 500_000


class ClaimLog:
    """The book of claims on a log; a ``ClaimBook``."""

    def __init__(
        self, log: Log, producer: Producer, *, clock: Clock, max_keys: int = MAX_KEYS
    ) -> None:
        """Use a log and a started producer; ``follow`` has to run beside.

        Args:
            log: Where the claims are.
            producer: Writes claims.
            clock: The time.
            max_keys: Keys held at most before new ones are refused.
        """
        self._log = log
        self._producer = producer
        self._clock = clock
        self._max_keys = max_keys
        self._probing = Probing(clock)
        self._partitions = self._no_claims()
        self._is_read = False
        self._read_ratio = 0.0
        self._expected: dict[str, asyncio.Future[Holder]] = {}

    def __len__(self) -> int:
        """Keys that are held."""
        return sum(map(len, self._partitions))

    @property
    def is_read(self) -> bool:
        """Whether the claims of the last day are known."""
        return self._is_read

    @property
    def read_ratio(self) -> float:
        """Share of the last day's claims that was read back, 0..1; 1 = all are known."""
        return 1.0 if self._is_read else self._read_ratio

    @property
    def is_full(self) -> bool:
        """Whether so many keys are held that no more are to be claimed."""
        return len(self) >= self._max_keys

    def find(self, key_hash: str) -> Holder | None:
        """Who holds a key."""
        self._check_is_read()
        return self._claims_of(key_hash).find(key_hash, now_ms=self._clock.now_ms())

    async def claim(self, claim: IdempotencyClaimed) -> Holder:
        """Record a claim, and read the log up to it."""
        self._check_is_read()
        self._probing.check()
        seen = asyncio.get_running_loop().create_future()
        self._expected[claim.request_id] = seen
        try:
            async with asyncio.timeout(ACKNOWLEDGE_WITHIN_S):
                await self._write(claim, seen)
                holder: Holder = await seen
        except (TimeoutError, Unavailable) as error:
            self._probing.failed()
            raise Unavailable("kafka", "a claim was not seen in the log") from error
        finally:
            del self._expected[claim.request_id]
        self._probing.confirmed()
        return holder

    async def follow(self) -> None:
        """Read the claims back, then follow them, until cancelled; waits for a broker."""
        while True:
            reader = self._log.reader()
            try:
                await self._read_back(reader)
            except Unavailable as error:
                _LOG.warning("claims cannot be read back", extra={"why": str(error)})
                await asyncio.sleep(_RETRY_S)
            else:
                await self._go_on(reader)
            finally:
                await reader.stop()

    async def _write(self, claim: IdempotencyClaimed, seen: "asyncio.Future[Holder]") -> None:
        def tell(acknowledged: "asyncio.Future[RecordMetadata]") -> None:
            failed = acknowledged.cancelled() or acknowledged.exception() is not None
            if failed and not seen.done():
                seen.set_exception(Unavailable("kafka", "a claim was not acknowledged"))

        count = len(self._partitions)
        acknowledged = await self._producer.send(
            Topic.IDEMPOTENCY_KEYS,
            partition=partition_for(claim.key_hash, count),
            key=claim.key_hash.encode(),
            value=encode_record(claim),
            headers=[],
        )
        acknowledged.add_done_callback(tell)

    async def _read_back(self, reader: Reader) -> None:
        self._partitions = self._no_claims()
        where = [
            TopicPartition(Topic.IDEMPOTENCY_KEYS, index) for index in range(len(self._partitions))
        ]
        await reader.start(where)
        ends = await reader.end_offsets()
        for partition in where:
            await reader.seek_to_time(partition, int(self._clock.now_ms()) - READ_BACK_MS)
        begins = {it: await reader.position(it) for it in where}
        total = sum(max(0, ends[it] - begins[it]) for it in where)
        while left := sum([max(0, ends[it] - await reader.position(it)) for it in where]):
            self._read_ratio = 1 - left / total
            self._apply(await reader.poll(timeout_s=_POLL_S, max_records=_POLL_RECORDS))
        self._is_read = True
        _LOG.info("claims read back", extra={"keys": len(self)})

    async def _go_on(self, reader: Reader) -> None:
        while True:
            try:
                polled = await reader.poll(timeout_s=_POLL_S, max_records=_POLL_RECORDS)
            except Unavailable as error:
                _LOG.warning("claims cannot be read", extra={"why": str(error)})
                await asyncio.sleep(_RETRY_S)
            else:
                self._apply(polled)

    def _apply(self, polled: Polled) -> None:
        for partition, records in polled.items():
            for raw in records:
                claim = _claim_of(raw)
                if claim is not None:
                    holder = self._partitions[partition.partition].apply(claim, at_ms=raw.timestamp)
                    self._tell(claim.request_id, holder)

    def _tell(self, request_id: str, holder: Holder) -> None:
        seen = self._expected.get(request_id)
        if seen is not None and not seen.done():
            seen.set_result(holder)

    def _claims_of(self, key_hash: str) -> Claims:
        return self._partitions[partition_for(key_hash, len(self._partitions))]

    def _no_claims(self) -> list[Claims]:
        count = self._producer.partition_count(Topic.IDEMPOTENCY_KEYS)
        return [Claims() for _ in range(count)]

    def _check_is_read(self) -> None:
        if not self._is_read:
            raise Unavailable("kafka", "the claims were not read back yet")


def _claim_of(raw: Raw) -> IdempotencyClaimed | None:
    """The claim of a record; what is none counts for no gateway."""
    if raw.value is None:
        return None
    try:
        claim = decode_record(raw.value, IdempotencyClaimed)
        bytes.fromhex(claim.key_hash)
    except (PoisonRecord, ValueError):
        _LOG.error("a record is no claim", extra={"partition": raw.partition, "offset": raw.offset})
        return None
    return claim
