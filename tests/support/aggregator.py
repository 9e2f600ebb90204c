"""A real metrics aggregator on a real broker: its process, its input, its output."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewPartitions

from services.cli.local_stack.orphans import guarded
from services.cli.local_stack.ports import free_port
from services.metrics_aggregator.decide import BASE_S, Policy
from services.metrics_aggregator.table_keys import WindowId
from services.shared.codec.headers import CRC32C, REQUEST_ID, TENANT, checksum
from services.shared.codec.records import decode_record, encode_record
from services.shared.codec.topics import packaged_topics
from services.shared.domain.errors import PoisonRecord, Unavailable
from services.shared.domain.events import InferenceFinished, UsageWindow
from services.shared.domain.ids import partition_for
from services.shared.domain.topics import Topic
from services.shared.domain.usage_windows import dimensions_of
from services.shared.ports.folding import Logged
from services.shared.stream.admin import apply_topics
from services.shared.stream.bulk import BulkReader, Position, Read
from tests.support.folded_table import recompute
from tests.support.terminals import answered, failed, hit

GROUP = "metrics-aggregator"
CHANGELOG = "metrics-aggregator-windows-changelog"
RESULTS = Topic.INFERENCE_RESULTS
POLICY = Policy(grace_ms=3_000)
_WAIT_S = 60.0
_POLL_S = 0.1
_EXIT_S = 10.0

PartitionWindow = tuple[int, WindowId]


class Aggregator:
    """A running process.

    Attributes:
        started_s: Monotonic time at which it was started.
    """

    def __init__(self, bootstrap: str, folder: Path, *, slot: int = 0) -> None:
        """Start it; its state and its log are in a folder."""
        self._port = free_port()
        self._log = folder / "aggregator.log"
        environment = {
            "MILLRACE_KAFKA_BOOTSTRAP": bootstrap,
            "MILLRACE_DATA": str(folder),
            "MILLRACE_SLOT": str(slot),
            "MILLRACE_METRICS_PORT": str(self._port),
            "MILLRACE_METRICS_GRACE_S": str(POLICY.grace_ms / 1_000),
        }
        self.started_s = time.monotonic()
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                guarded([sys.executable, "-m", "services.metrics_aggregator"], signal.SIGKILL),
                env=os.environ | environment,
                stderr=log,
            )

    @property
    def log(self) -> str:
        """What all processes of this folder have said."""
        return self._log.read_text()

    @property
    def exit_code(self) -> int | None:
        """How it ended; None = it runs."""
        return self._process.poll()

    def probe(self, path: str) -> tuple[int, str]:
        """Status and text of one of its probes; 0 = it does not answer."""
        try:
            with urllib.request.urlopen(
                f"http://127.0.0.1:{self._port}{path}", timeout=5
            ) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def until_ready(self) -> float:
        """Wait until it folds; returns seconds since its start."""
        until(lambda: self.probe("/readyz")[0] == 200, f"not ready: {self.log[-2_000:]}")
        return time.monotonic() - self.started_s

    def end(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, float]:
        """End it with a signal; returns its exit code, and seconds that it took."""
        sent_s = time.monotonic()
        self._process.send_signal(number)
        return self._process.wait(_WAIT_S), time.monotonic() - sent_s

    def close(self) -> None:
        """End it, whatever state it is in."""
        self._process.kill()
        self._process.wait()


class Aggregation:
    """A broker with terminal records, and the aggregator of them."""

    def __init__(self, bootstrap: str, folder: Path, *, partitions: int) -> None:
        """Make the topics."""
        self.bootstrap = bootstrap
        self.partitions = partitions
        self.running: list[Aggregator] = []
        self._folder = folder
        self._numbers = random.Random(partitions)
        apply_topics(bootstrap, packaged_topics(), partitions=partitions)
        self._admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})

    def start(self, *, slot: int = 0) -> Aggregator:
        """Start a process."""
        self.running.append(Aggregator(self.bootstrap, self._folder, slot=slot))
        return self.running[-1]

    def end(self, count: int, *, first: int) -> None:
        """Append terminal records of requests, with repetitions, stragglers and wrong clocks."""
        draw = self._numbers
        now_ms = int(time.time() * 1_000)
        terminals = []
        for number in range(first, first + count):
            late_ms = draw.choices((0, 4_500, 40_000, -900_000, now_ms), (94, 2, 2, 1, 1))[0]
            make = draw.choices((answered, hit, failed), (6, 3, 1))[0]
            terminals.append(
                make(
                    draw.randrange(number + 1) if draw.random() < 0.05 else number,
                    at_ms=now_ms - late_ms,
                    tenant=draw.choice(("acme", "blue")),
                    feature=draw.choice("abc"),
                )
            )
        self.write(terminals)

    def write(self, terminals: Iterable[InferenceFinished]) -> None:
        """Append terminal records as their stages do."""
        producer = Producer({"bootstrap.servers": self.bootstrap, "linger.ms": 5})
        for terminal in terminals:
            self._produce(producer, terminal)
        producer.flush()

    def write_raw(self, value: bytes | None) -> None:
        """Append bytes to the first partition."""
        producer = Producer({"bootstrap.servers": self.bootstrap})
        producer.produce(RESULTS, value, b"key", 0)
        producer.flush()

    def write_in_transactions(self, terminals: Iterable[InferenceFinished]) -> None:
        """Append each in a transaction of its own, with an aborted one before it."""
        producer = Producer({"bootstrap.servers": self.bootstrap, "transactional.id": "t"})
        producer.init_transactions()
        for terminal in terminals:
            for finish in (producer.abort_transaction, producer.commit_transaction):
                producer.begin_transaction()
                self._produce(producer, terminal)
                producer.flush()
                finish()

    def grow(self, partitions: int) -> None:
        """Give the topic of results more partitions."""
        growth = {RESULTS: NewPartitions(RESULTS, partitions)}
        for future in self._admin.create_partitions(list(growth.values())).values():
            future.result()
        self.partitions = partitions

    def read(self, topic: str) -> list[Read]:
        """All records of a topic, as of now; waits for a broker that was just started."""
        give_up_s = time.monotonic() + _WAIT_S
        while True:
            try:
                return self._read(topic)
            except Unavailable:
                if time.monotonic() > give_up_s:
                    raise
                time.sleep(_POLL_S)  # it elects leaders

    def _read(self, topic: str) -> list[Read]:
        reader = BulkReader(self.bootstrap, topic, position=Position(offset=0))
        try:
            return [record for batch in reader.batches(follow=False) for record in batch]
        finally:
            reader.close()

    def topic(self, name: str) -> Any:
        """What the broker says of a topic."""
        return self._admin.list_topics(name, timeout=10).topics[name]

    def expected(self) -> dict[PartitionWindow, UsageWindow]:
        """What the windows should be: each partition of the topic in one pass."""
        logs: dict[int, list[Logged[InferenceFinished]]] = {}
        for record in self.read(RESULTS):
            with contextlib.suppress(PoisonRecord):
                event = decode_record(record.value or b"", InferenceFinished)
                logs.setdefault(record.partition, []).append(
                    Logged(event, record.offset, record.timestamp_ms)
                )
        return {
            (partition, window): record
            for partition, log in logs.items()
            for window, record in recompute(log, policy=POLICY, partition=partition).items()
        }

    def published(self) -> dict[PartitionWindow, UsageWindow]:
        """The newest record of each window."""
        windows = [
            decode_record(record.value or b"", UsageWindow)
            for record in self.read(Topic.USAGE_WINDOWS)
        ]
        return {
            (w.source_partition, WindowId(w.window_s, w.window_start, dimensions_of(w))): w
            for w in windows
        }

    def until_exact(self) -> None:
        """Wait until all published windows are those of one pass over the topic, to the bit.

        A new process publishes all that is open, so nobody waits for the day's next turn.
        """
        self.until_counted()
        self.leave()
        self.start()
        expected = self.expected()
        until(lambda: self.published() == expected, lambda: self._difference(expected))

    def leave(self) -> None:
        """End the process in order."""
        process = self.running[-1]
        code, seconds = process.end()
        assert code == 0, process.log[-2_000:]
        assert seconds < _EXIT_S

    def until_counted(self) -> None:
        """Wait until the 10-s windows are exact: they are published within seconds."""
        expected = _short(self.expected())
        until(lambda: _short(self.published()) == expected, lambda: self._difference(expected))

    def until_left(self) -> None:
        """Wait until the group has no member: a static one keeps its place for a session."""

        def is_empty() -> bool:
            group = self._admin.describe_consumer_groups([GROUP])[GROUP].result()
            return not group.members

        until(is_empty, "the group still has a member")

    def start_over(self) -> None:
        """Remove the table and all that followed from it; the results stay."""
        self.make_anew(CHANGELOG, Topic.USAGE_WINDOWS)

    def make_anew(self, *topics: str) -> None:
        """Remove topics with all that they hold, and make those that are declared again."""
        for future in self._admin.delete_topics(list(topics)).values():
            future.result()
        until(
            lambda: not self._admin.list_topics(timeout=10).topics.keys() & set(topics),
            "the topics are still there",
        )
        apply_topics(self.bootstrap, packaged_topics(), partitions=self.partitions)

    def keep_running(self, until_done: Callable[[], None]) -> None:
        """Start the last process again whenever it ends, as a supervisor does."""
        done = threading.Event()

        def supervise() -> None:
            while not done.wait(_POLL_S):
                if self.running[-1].exit_code is not None:
                    self.start()

        supervisor = threading.Thread(target=supervise)
        supervisor.start()
        try:
            until_done()
        finally:
            done.set()
            supervisor.join()

    def close(self) -> None:
        """End all processes."""
        for process in self.running:
            process.close()

    def _produce(self, producer: Producer, terminal: InferenceFinished) -> None:
        value = encode_record(terminal)
        producer.produce(
            RESULTS,
            value,
            terminal.request_id.encode(),
            partition_for(terminal.request_id, self.partitions),
            headers=[
                (REQUEST_ID, terminal.request_id.encode()),
                (TENANT, terminal.tenant.encode()),
                (CRC32C, checksum(value)),
            ],
        )
        producer.poll(0)

    def _difference(self, expected: dict[PartitionWindow, UsageWindow]) -> str:
        found = self.published()
        wrong = [
            key for key in expected.keys() | found.keys() if expected.get(key) != found.get(key)
        ]
        first = min(wrong, default=None, key=repr)
        return (
            f"{len(wrong)} of {len(expected)} windows differ, e.g. {first}:\n"
            f"expected {expected.get(first) if first else None}\n"
            f"found {found.get(first) if first else None}\n"
            f"{self.running[-1].log[-2_000:] if self.running else ''}"
        )


@contextlib.contextmanager
def aggregation(bootstrap: str, folder: Path, *, partitions: int) -> Iterator[Aggregation]:
    """A broker's topics and aggregators for the length of a ``with`` block."""
    made = Aggregation(bootstrap, folder, partitions=partitions)
    try:
        yield made
    finally:
        made.close()


def _short(windows: dict[PartitionWindow, UsageWindow]) -> dict[PartitionWindow, UsageWindow]:
    return {key: window for key, window in windows.items() if window.window_s == BASE_S}


def until(holds: Callable[[], bool], complaint: str | Callable[[], str]) -> None:
    """Wait for something that processes do in their own time; fails after a minute."""
    give_up_s = time.monotonic() + _WAIT_S
    while not holds():
        if time.monotonic() > give_up_s:
            raise AssertionError(complaint if isinstance(complaint, str) else complaint())
        time.sleep(_POLL_S)  # the condition is in another process
