"""The book of claims of ``Idempotency-Key``s, equal on every gateway."""

from typing import Protocol

from services.shared.domain.claims import Holder
from services.shared.domain.events import IdempotencyClaimed


class ClaimBook(Protocol):
    """Knows who holds a key, and takes claims."""

    @property
    def is_full(self) -> bool:
        """Whether so many keys are held that no more are to be claimed."""
        ...

    def find(self, key_hash: str) -> Holder | None:
        """Who holds a key; None = nobody, as far as this process has heard.

        Raises:
            Unavailable: The claims were not read back yet. Retriable.
        """
        ...

    async def claim(self, claim: IdempotencyClaimed) -> Holder:
        """Record a claim; returns who holds the key at the claim's place in the log.

        Raises:
            Unavailable: The claim was not seen in the log in time; whether it is there is unknown.
        """
        ...
