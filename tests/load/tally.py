"""Counts what comes of requests."""

from collections import Counter

from tests.load.answers import Fault
from tests.load.connection import Exchange
from tests.load.distribution import Distribution

_MS_PER_S = 1000.0
_MOST_EXAMPLES = 5


class Tally:
    """The counts of one run.

    Attributes:
        gaps: Times between the tokens of streams; the answers count them.
        latency: Of right answers.
        first_token: Of right answers.
        lateness: Of everything that was sent.
        answered: Right answers.
        in_window: Those of them that ended in time.
        events: Pieces with content.
        errors: Failures by kind.
        examples: The first few in full.
        cache: Right answers by their ``x-cache`` header.
    """

    def __init__(self) -> None:
        """Begin with nothing."""
        self.gaps = Distribution()
        self.latency = Distribution()
        self.first_token = Distribution()
        self.lateness = Distribution()
        self.answered = 0
        self.in_window = 0
        self.events = 0
        self.errors: Counter[str] = Counter()
        self.examples: list[str] = []
        self.cache: Counter[str] = Counter()
        self._request_ids: set[bytes] = set()

    def ended(
        self, exchange: Exchange, fault: Fault | None, *, now_s: float, until_s: float
    ) -> None:
        """Count an exchange.

        Args:
            exchange: It.
            fault: What is wrong with it.
            now_s: When it ended.
            until_s: The end of the time in which answers count for the rate.
        """
        self.lateness.record((exchange.sent_s - exchange.intended_s) * _MS_PER_S)
        fault = fault or self._id_fault(exchange.request_id)
        if fault is not None:
            self.errors[fault.kind] += 1
            if len(self.examples) < _MOST_EXAMPLES:
                request_id = exchange.request_id.decode(errors="replace") or "no request id"
                self.examples.append(f"{fault.kind}: {fault.detail} ({request_id})")
            return
        self.answered += 1
        self.in_window += now_s <= until_s
        self.events += exchange.answer.events
        self.latency.record((now_s - exchange.intended_s) * _MS_PER_S)
        if exchange.answer.first_token_s is not None:
            first_s = exchange.answer.first_token_s - exchange.intended_s
            self.first_token.record(first_s * _MS_PER_S)
        if exchange.cache:
            self.cache[exchange.cache.decode()] += 1

    def _id_fault(self, request_id: bytes) -> Fault | None:
        if not request_id:
            return Fault("no x-request-id")
        if request_id in self._request_ids:
            return Fault("x-request-id twice")
        self._request_ids.add(request_id)
        return None
