"""Who decides whether an answer to another question is served."""

from typing import Protocol


class Gatekeeper(Protocol):
    """Knows how far a tenant's candidates can be trusted."""

    def serves(self, tenant: str, entry_id: str, score: float) -> bool:
        """Whether an entry's answer is served."""
        ...

    def asks_again(self, tenant: str, draw: float) -> float | None:
        """Whether a served request is asked again: None = no, else the weight of its label."""
        ...
