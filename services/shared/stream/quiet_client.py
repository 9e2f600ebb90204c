"""librdkafka for a command line: what it has to say ends in one message, not on the screen."""

from typing import Any, Protocol

from confluent_kafka import KafkaError, KafkaException

from services.shared.domain.errors import Unavailable

_ONLY_EMERGENCIES = 0


class _Polled(Protocol):
    """A client that reports errors while it is polled."""

    def poll(self, timeout: float, /) -> object: ...


class BrokerTrouble:
    """Remembers the last trouble with a broker that a client met."""

    def __init__(self) -> None:
        """Nothing yet."""
        self._last = ""

    @property
    def settings(self) -> dict[str, Any]:
        """For the client: log nothing, report here."""
        return {"log_level": _ONLY_EMERGENCIES, "error_cb": self._note}

    def unavailable(self, error: KafkaException, client: _Polled) -> Unavailable:
        """The error that ends a command: what the client says, and why it could not."""
        client.poll(0)  # reports wait for this
        text = error.args[0].str() if error.args else str(error)
        return Unavailable("kafka", f"{text}. {self._last}" if self._last else text)

    def _note(self, error: KafkaError) -> None:
        self._last = error.str()
