"""A provider of models, as the model caller sees it: bytes out, bytes in."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from services.shared.domain.errors import MillraceError


class UpstreamFailed(MillraceError):
    """A provider could not be reached, or broke off. Whether to retry is the caller's decision.

    Attributes:
        code: ``provider_unreachable`` or ``provider_malformed``.
    """

    def __init__(self, code: str, why: str) -> None:
        """Keep the public code and the reason, which names no secret."""
        super().__init__(why)
        self.code = code


class UpstreamAnswer(Protocol):
    """An answer whose headers have arrived."""

    @property
    def status(self) -> int:
        """HTTP status."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """HTTP headers, by lower-case name."""
        ...

    async def read(self, *, max_bytes: int) -> bytes:
        """The whole body.

        Raises:
            UpstreamFailed: It breaks off or is larger.
        """
        ...

    def pieces(self) -> AsyncIterator[bytes]:
        """The body as it arrives.

        Raises:
            UpstreamFailed: It breaks off.
        """
        ...


class ModelProvider(Protocol):
    """One provider."""

    def call(
        self, path: str, *, body: bytes, headers: Mapping[str, str]
    ) -> AbstractAsyncContextManager[UpstreamAnswer]:
        """POST a JSON body; leaving the context gives the connection back or closes it.

        Args:
            path: Below the provider's base URL, e.g. ``/chat/completions``.
            body: JSON.
            headers: Beside content type and credentials, which the provider adds.

        Raises:
            UpstreamFailed: No connection, or no answer.
        """
        ...
