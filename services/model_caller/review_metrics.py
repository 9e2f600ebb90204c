"""What is measured of reviews."""

from prometheus_client import CollectorRegistry, Counter

from services.shared.domain.events import Target


class ReviewMetrics:
    """Verdicts, checks, caps and savings."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Register the metrics."""
        self._verdicts = Counter(
            "millrace_cascade_verdicts",
            "Answers that were judged: accepted, escalated, or kept for want of a better one.",
            ("provider", "model", "verdict"),
            registry=registry,
        )
        self._checks = Counter(
            "millrace_invalid_answers",
            "Answers that were not the demanded JSON, by what was done.",
            ("done",),
            registry=registry,
        )
        self._caps = Counter(
            "millrace_output_caps",
            "Requests that got a cap of output tokens which their caller did not ask for.",
            ("by",),
            registry=registry,
        )
        self._saved = Counter(
            "millrace_tokens_saved",
            "Input tokens that were left out of prompts, estimated.",
            ("by",),
            registry=registry,
        )

    def judged(self, target: Target, verdict: str) -> None:
        """Count a verdict."""
        self._verdicts.labels(target.provider, target.model, verdict).inc()

    def checked(self, done: str) -> None:
        """Count an answer that is not the demanded JSON."""
        self._checks.labels(done).inc()

    def capped(self, by: str) -> None:
        """Count a cap."""
        self._caps.labels(by).inc()

    def saved(self, by: str, tokens: int) -> None:
        """Count tokens that were left out."""
        self._saved.labels(by).inc(tokens)
