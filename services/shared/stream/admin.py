"""Administration of a Kafka cluster."""

import time

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from services.shared.domain.errors import Unavailable

_ATTEMPT_S = 2.0


def wait_until_ready(bootstrap: str, *, timeout_s: float) -> None:
    """Return once a broker answers with the cluster's metadata.

    Args:
        bootstrap: ``host:port`` of a broker.
        timeout_s: Longest wait, in seconds.

    Raises:
        Unavailable: None answered in that time. Retriable.
    """
    client = AdminClient(
        {
            "bootstrap.servers": bootstrap,
            "reconnect.backoff.ms": 50,
            "reconnect.backoff.max.ms": 100,
            "log_level": 0,  # refused connections are what we wait out, not news
        }
    )
    give_up_at_s = time.monotonic() + timeout_s
    while True:
        left_s = give_up_at_s - time.monotonic()
        try:
            client.list_topics(timeout=max(0.1, min(_ATTEMPT_S, left_s)))
        except KafkaException as error:
            if time.monotonic() >= give_up_at_s:
                why = f"no answer from {bootstrap} in {timeout_s:g} s"
                raise Unavailable("Kafka", why) from error
        else:
            return
