"""What all dummies do: answer probes on their port, and write down when they start and stop."""

import os
import signal
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

METRICS = b"""\
millrace_in_flight_records 3.0
millrace_consumer_lag_records{partition="0",topic="a"} 4.0
millrace_consumer_lag_records{partition="1",topic="a"} 5.0
millrace_processed_records_total{topic="a"} 6.0
"""


class _Probes(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = METRICS if self.path == "/metrics" else b"ok\n"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def run(name: str, *, is_deaf: bool = False) -> None:
    """Serve until SIGTERM, or for good where that is ignored."""
    trace = Path(os.environ["MILLRACE_DATA"]) / "trace"
    told_to_stop = threading.Event()

    def note(what: str) -> None:
        with trace.open("a") as file:
            file.write(f"{name} {what}\n")

    def on_signal(*_: object) -> None:
        note("told")
        if not is_deaf:
            told_to_stop.set()

    signal.signal(signal.SIGTERM, on_signal)
    port = int(os.environ["MILLRACE_METRICS_PORT"])
    server = ThreadingHTTPServer(("127.0.0.1", port), _Probes)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    note("started")
    told_to_stop.wait()
    note("stopped")
