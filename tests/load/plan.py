"""What a generator is told, and what it tells in the end; both travel as JSON."""

from enum import StrEnum

import msgspec

from tests.load.distribution import Summary


class Operation(StrEnum):
    """What is asked for; the value is the path below ``/v1``."""

    CHAT = "chat/completions"
    EMBEDDINGS = "embeddings"


class ClosedLoop(msgspec.Struct, frozen=True, tag=True):
    """As many clients, each of which asks again as soon as it has its answer.

    Attributes:
        in_flight: How many.
    """

    in_flight: int


class OpenLoop(msgspec.Struct, frozen=True, tag=True):
    """Requests arrive when they arrive, whether others were answered or not.

    Attributes:
        rate_per_s: Mean number a second.
        is_poisson: Whether arrivals are independent of one another; else they come evenly.
    """

    rate_per_s: float
    is_poisson: bool = True


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """One run of a generator.

    Attributes:
        url: Root of the API, e.g. ``http://127.0.0.1:8080/v1``; who runs the plan sets it.
        key: Bearer token.
        operation: What is asked for.
        model: Whom.
        stream: Whether answers are streamed.
        arrivals: When requests start.
        duration_s: How long new ones start; those under way are awaited.
        most_requests: No more than these; 0 = no limit.
        distinct: Number of different requests, asked in turn; 0 = no two are alike.
        questions: Whether each request is a short question of its own, which a cache may compare by
            meaning, instead of what applications send; then ``distinct`` has no say.
        cache_control: Header of that name; empty = none.
        salt: Eight hexadecimal digits; no request is like one of a run with another salt (of
            questions one in some hundreds may be).
        seed: Of the prompts, and of the arrivals.
        timeout_s: A request that has not ended so long after it was sent has failed.
    """

    url: str = ""
    key: str = "none"
    operation: Operation = Operation.CHAT
    model: str
    stream: bool = False
    arrivals: ClosedLoop | OpenLoop
    duration_s: float
    most_requests: int = 0
    distinct: int = 0
    questions: bool = False
    cache_control: str = ""
    salt: str = "00000000"
    seed: int = 1
    timeout_s: float = 60.0


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a run.

    Attributes:
        began_at: When it began, unix ms.
        took_s: From its begin to the last answer.
        window_s: Time in which answers count for the rate.
        sent: Requests sent.
        answered: Those that got a right and complete answer.
        in_window: Those of them that got it within the window.
        most_open: Most requests that were open at once.
        connections: Connections opened.
        latency: From the intended start to the end of the answer; right answers only.
        first_token: From the intended start to the first content; streams only.
        token_gap: Between two events with content; streams only.
        lateness: From the intended start to the sending: what the generator itself added.
        errors: Failed requests by kind.
        examples: The first few failures in full.
        cache: Answers by their ``x-cache`` header.
        events: Events with content.
        generator_cpu_s: CPU of the generator itself.
    """

    began_at: int
    took_s: float
    window_s: float
    sent: int
    answered: int
    in_window: int
    most_open: int
    connections: int
    latency: Summary
    first_token: Summary
    token_gap: Summary
    lateness: Summary
    errors: dict[str, int]
    examples: list[str]
    cache: dict[str, int]
    events: int
    generator_cpu_s: float

    @property
    def rate_per_s(self) -> float:
        """Right answers a second."""
        return self.in_window / self.window_s if self.window_s else 0.0

    @property
    def failed(self) -> int:
        """Requests without a right answer."""
        return sum(self.errors.values())
