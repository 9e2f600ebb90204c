"""Three brokers that keep three copies of everything, and the services of a stack on them.

The local stack runs one broker of its own, so here the services are started without it.
"""

import contextlib
import os
import secrets
import signal
import subprocess
import sys
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
from confluent_kafka.admin import AdminClient
from rich.console import Console

from services.cli.local_stack.environment import Surroundings, probes_of, service_environment
from services.cli.local_stack.java import find_java
from services.cli.local_stack.kafka import (
    Broker,
    broker_command,
    format_data,
    server_properties,
    write_settings,
)
from services.cli.local_stack.orphans import guarded
from services.cli.local_stack.plan import usual_ports
from services.cli.local_stack.ports import HOST, free_port
from services.cli.local_stack.prepare import prepare_jars
from services.cli.local_stack.services import SERVICES, Instance, instances
from services.cli.local_stack.state import Layout
from services.shared.adapters.minilm.pinned import encoder_folder
from services.shared.domain.errors import Unavailable
from services.shared.stream.admin import wait_until_ready
from tests.faults.harness.rig import PARTITIONS, Rig, keep_logs
from tests.support.project import ROOT
from tests.support.redis_server import redis_server
from tests.support.stack import RunningStack, wait_until
from tests.support.temporary_folders import temporary_folder

BROKERS = 3
_LEFT_OUT = frozenset({"metrics-aggregator", "trace-exporter", "schema-registry"})
_START_S, _STOP_S, _PATIENCE_S, _RESTART_S = 120.0, 20.0, 5.0, 0.5


class Cluster:
    """Brokers 1 to 3, each controller as well."""

    def __init__(self, folder: Path) -> None:
        """Prepare their folders; ``start`` starts one."""
        jars = prepare_jars(os.environ, console=Console(stderr=True))
        self._brokers = {
            number: Broker(
                java=find_java(os.environ),
                jars=jars,
                folder=folder / f"broker-{number}",
                port=free_port(),
                controller_port=free_port(),
            )
            for number in range(1, BROKERS + 1)
        }
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        for number, broker in self._brokers.items():
            write_settings(broker)
            self._write_settings_of_a_member(number, broker)
            format_data(broker)

    @property
    def bootstrap(self) -> str:
        """Addresses of all brokers."""
        return ",".join(broker.bootstrap for broker in self._brokers.values())

    def _write_settings_of_a_member(self, number: int, broker: Broker) -> None:
        voters = ",".join(
            f"{each}@{HOST}:{other.controller_port}" for each, other in self._brokers.items()
        )
        replicated = {
            name: str(BROKERS)
            for name in server_properties(broker)
            if name.endswith("replication.factor")
        }
        properties = {
            **server_properties(broker),
            **replicated,
            "node.id": str(number),
            "controller.quorum.voters": voters,
            "min.insync.replicas": "2",
            "transaction.state.log.min.isr": "2",
            "default.replication.factor": str(BROKERS),
            "unclean.leader.election.enable": "false",
        }
        lines = [f"{name}={value}\n" for name, value in properties.items()]
        (broker.folder / "server.properties").write_text("".join(lines))

    def start(self, number: int) -> None:
        """Start a broker, without waiting for it. On Linux it ends with the thread that does."""
        broker = self._brokers[number]
        with (broker.folder / "kafka.log").open("ab") as output:
            self._processes[number] = subprocess.Popen(
                guarded(broker_command(broker), signal.SIGTERM),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def is_up(self, number: int) -> bool:
        """Whether a broker answers."""
        try:
            wait_until_ready(self._brokers[number].bootstrap, timeout_s=1.0)
        except Unavailable:
            return False
        return True

    def kill(self, number: int) -> int:
        """End a broker with -9; returns its process id."""
        process = self._processes[number]
        process.kill()
        process.wait()
        return process.pid

    def leaders(self, topic: str) -> dict[int, int]:
        """Leader of each partition."""
        admin = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})
        partitions = admin.list_topics(topic, timeout=_PATIENCE_S).topics[topic].partitions
        return {number: partition.leader for number, partition in partitions.items()}

    def stop(self) -> None:
        """Stop all brokers."""
        _end_all(self._processes.values())


def _end_all(processes: Collection[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        process.terminate()
    for process in processes:
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class ClusterStack(RunningStack):
    """The services on a cluster, with the face of a stack that ``millrace up`` started."""

    def __init__(self, data: Path, *, bootstrap: str, redis_url: str, config: Path) -> None:
        """Choose ports; ``up`` starts the processes."""
        super().__init__(data)
        self._bootstrap = bootstrap
        self._redis_url = redis_url
        self._services = tuple(s for s in SERVICES if s.name not in _LEFT_OUT)
        self._instances = instances(self._services, scale={"gateway": 2})
        self._ports = {name: free_port() for name in usual_ports(self._instances)}
        self._config = config
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._supervisor: threading.Thread | None = None
        self._stopping = threading.Event()

    def up(self, *options: str) -> str:
        """Start every service; returns when all are ready."""
        layout = Layout(self.data)
        layout.logs.mkdir(parents=True)
        layout.secret.write_bytes(secrets.token_bytes(32))
        surroundings = Surroundings(
            layout=layout,
            config=str(self._config),
            ports=self._ports,
            provider_keys=frozenset(),
            encoder=encoder_folder(os.environ),
        )
        # On Linux a process ends with the thread that started it, so one thread has them all.
        self._supervisor = threading.Thread(
            target=self._supervise, args=(surroundings, list(options)), daemon=True
        )
        self._supervisor.start()
        wait_until(lambda: self.status()["is_ready"], timeout_s=_START_S)
        return ""

    def _supervise(self, surroundings: Surroundings, settings: list[str]) -> None:
        """Start what does not run, until told to stop everything."""
        is_stopping = False
        while not is_stopping:
            for instance in self._instances:
                process = self._processes.get(instance.name)
                if process is None or process.poll() is not None:
                    started = self._started(instance, surroundings, settings)
                    self._processes[instance.name] = started
            is_stopping = self._stopping.wait(_RESTART_S)
        _end_all(self._processes.values())

    def _started(
        self, instance: Instance, surroundings: Surroundings, settings: list[str]
    ) -> subprocess.Popen[bytes]:
        environ = service_environment(instance, surroundings, environ=os.environ)
        del environ["MILLRACE_DEV_KEY_FILE"]  # there is none
        environ |= {
            "MILLRACE_KAFKA_BOOTSTRAP": self._bootstrap,
            "MILLRACE_REDIS_URL": self._redis_url,
            **dict(setting.split("=", 1) for setting in settings),
        }
        command = (sys.executable, "-m", instance.service.module)
        with surroundings.layout.log_of(instance.name).open("ab") as output:
            return subprocess.Popen(
                guarded(command, signal.SIGKILL), env=environ, cwd=ROOT, stdout=output,
                stderr=output, stdin=subprocess.DEVNULL,
            )  # fmt: skip

    def down(self) -> None:
        """Stop every service."""
        self._stopping.set()
        if self._supervisor is not None:
            self._supervisor.join()

    def status(self) -> dict[str, Any]:
        """Whether all are ready."""
        return {"is_ready": all(self._is_ready(instance) for instance in self._instances)}

    def _is_ready(self, instance: Instance) -> bool:
        try:
            status, _ = self._get(f"http://{HOST}:{self._ports[probes_of(instance)]}", "/readyz")
        except (OSError, HTTPException):
            return False
        return status == 200

    def _get(self, url: str, path: str) -> tuple[int, bytes]:
        parts = urlsplit(url)
        assert parts.hostname is not None
        connection = HTTPConnection(parts.hostname, parts.port, timeout=_PATIENCE_S)
        with contextlib.closing(connection):
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read()

    def process(self, name: str) -> dict[str, Any]:
        """As the supervisor says it."""
        process = self._processes[name]
        is_running = psutil.pid_exists(process.pid) and process.poll() is None
        return {"pid": process.pid, "state": "running" if is_running else "stopped"}

    @property
    def addresses(self) -> dict[str, str]:
        """URL or addresses by name."""
        served = {
            instance.name.replace("-", "_"): f"http://{HOST}:{self._ports[instance.name]}"
            for instance in self._instances
            if instance.service.usual_port
        }
        return {**served, "kafka": self._bootstrap, "redis": self._redis_url}


@contextmanager
def running_cluster_rig() -> Iterator[tuple[Rig, Cluster]]:
    """A stack on three brokers for the length of a ``with`` block."""
    with temporary_folder("faults") as folder, redis_server() as redis:
        cluster = Cluster(folder)
        try:
            for number in range(1, BROKERS + 1):
                cluster.start(number)
            wait_until(lambda: all(map(cluster.is_up, range(1, BROKERS + 1))), timeout_s=_START_S)
            data = folder / "data"
            data.mkdir()
            rig = Rig(folder, data)
            stack = ClusterStack(
                data, bootstrap=cluster.bootstrap, redis_url=redis.url, config=rig.config
            )
            rig.stack = stack
            stack.said(
                "topics", "apply", "--bootstrap", cluster.bootstrap,
                "--replication", str(BROKERS), "--partitions", str(PARTITIONS),
            )  # fmt: skip
            try:
                stack.up(f"MILLRACE_SIMULATOR_CALL_LOG={rig.journal}")
                yield rig, cluster
            finally:
                stack.down()
                keep_logs(folder)
        finally:
            cluster.stop()
