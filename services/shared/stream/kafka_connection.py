"""Where Kafka is and how to speak to it."""

from typing import Any

import msgspec
from aiokafka.helpers import create_ssl_context

from services.shared.stream.client import MAX_RECORD_BYTES

_FETCH_BYTES = 16 * 1024 * 1024
_FETCH_WAIT_MS = 2_000
"""How long a fetch waits at the end of the log; a record ends the wait at once.

The price of each empty fetch is paid all day by a gateway at rest, the price of a long wait only by
partitions that come to a consumer which has such a fetch under way.
"""
_LOOK_AGAIN_MS = 1_000
"""How often a consumer looks whether there is something to fetch; events wake it at once anyhow."""

_REQUEST_S = 15.0
_JOIN_MARGIN_S = 5.0


class KafkaConnection(msgspec.Struct, frozen=True, kw_only=True):
    """Where Kafka is and how to speak to it.

    Attributes:
        bootstrap: ``host:port`` pairs, separated by commas.
        security_protocol: PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL.
        sasl_mechanism: PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512.
        sasl_username: User name for SASL.
        sasl_password: Password for SASL.
        ca_file: Certificate authorities to trust; empty = the system's.
        session_timeout_s: Silence after which a group gives a member's partitions away.
        client_id: Name in the broker's logs.
    """

    bootstrap: str
    security_protocol: str = "PLAINTEXT"
    sasl_mechanism: str = "SCRAM-SHA-512"
    sasl_username: str = ""
    sasl_password: str = ""
    ca_file: str = ""
    session_timeout_s: float = 10.0
    client_id: str = "millrace"

    def options(self) -> dict[str, Any]:
        """Keyword arguments that all of aiokafka's clients share."""
        options: dict[str, Any] = {
            "bootstrap_servers": self.bootstrap,
            "client_id": self.client_id,
            "security_protocol": self.security_protocol,
            # joining a group takes up to a session
            "request_timeout_ms": int(
                max(_REQUEST_S, self.session_timeout_s + _JOIN_MARGIN_S) * 1000
            ),
        }
        if self.security_protocol.endswith("SSL"):
            options["ssl_context"] = create_ssl_context(cafile=self.ca_file or None)
        if self.security_protocol.startswith("SASL"):
            options |= {
                "sasl_mechanism": self.sasl_mechanism,
                "sasl_plain_username": self.sasl_username,
                "sasl_plain_password": self.sasl_password,
            }
        return options

    def fetch_options(self) -> dict[str, Any]:
        """Keyword arguments that all of aiokafka's consumers share."""
        return {
            "isolation_level": "read_committed",
            "fetch_max_wait_ms": _FETCH_WAIT_MS,
            "consumer_timeout_ms": _LOOK_AGAIN_MS,
            "fetch_max_bytes": _FETCH_BYTES,
            "max_partition_fetch_bytes": MAX_RECORD_BYTES,
        }
