"""Providers over HTTP, by aiohttp: pooled keep-alive connections.

No redirects are followed (a provider that redirects to an inner host is refused) and no
compression is accepted (so none can explode).
"""

import itertools
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager

import aiohttp
import msgspec

from services.shared.ports.model_provider import UpstreamFailed

_KEEP_ALIVE_S = 55.0  # below the usual 60 s of servers, so that we close first
_READ_BUFFER_BYTES = 64 * 1024


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """Where a provider is.

    Attributes:
        base_url: Root of its API.
        api_keys: Keys, used in turn; none = no ``Authorization``.
        connect_s: Longest wait for a connection, TLS included, seconds.
        trust: Certificate authorities to trust; None = the connection is not encrypted.
        proxy: URL of a proxy; empty = none.
    """

    base_url: str
    trust: ssl.SSLContext | None
    api_keys: Sequence[str] = ()
    connect_s: float = 5.0
    proxy: str = ""


class AiohttpAnswer:
    """An answer whose headers have arrived."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        """Wrap aiohttp's."""
        self._response = response
        self.status = response.status
        self.headers = response.headers  # case-insensitive

    async def read(self, *, max_bytes: int) -> bytes:
        """The whole body."""
        parts = []
        size = 0
        async for part in self.pieces():
            size += len(part)
            if size > max_bytes:
                raise UpstreamFailed("provider_malformed", f"more than {max_bytes} bytes")
            parts.append(part)
        return b"".join(parts)

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body as it arrives."""
        content = self._response.content
        try:
            while part := await content.readany():
                yield part
        except aiohttp.ClientError as error:
            raise UpstreamFailed("provider_unreachable", type(error).__name__) from error


class AiohttpModelProvider:
    """One provider, by one connection pool."""

    def __init__(self, endpoint: Endpoint, *, session: aiohttp.ClientSession) -> None:
        """Use an open session; ``open_session`` makes one."""
        self._base_url = endpoint.base_url.rstrip("/")
        self._proxy = endpoint.proxy or None
        self._session = session
        self._keys: Iterator[str] | None = (
            itertools.cycle(endpoint.api_keys) if endpoint.api_keys else None
        )

    @asynccontextmanager
    async def call(
        self, path: str, *, body: bytes, headers: Mapping[str, str]
    ) -> AsyncIterator[AiohttpAnswer]:
        """POST a JSON body."""
        sent = {"content-type": "application/json", "accept-encoding": "identity", **headers}
        if self._keys is not None:
            sent["authorization"] = f"Bearer {next(self._keys)}"
        try:
            response = await self._session.post(
                self._base_url + path,
                data=body,
                headers=sent,
                allow_redirects=False,
                proxy=self._proxy,
            )
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            if isinstance(error, TimeoutError) and not isinstance(error, aiohttp.ClientError):
                raise
            raise UpstreamFailed("provider_unreachable", type(error).__name__) from error
        try:
            if response.headers.get("content-encoding", "identity") != "identity":
                raise UpstreamFailed("provider_malformed", "the answer is compressed")
            yield AiohttpAnswer(response)
        finally:
            # Gives the connection back when the body was read to its end, closes it otherwise.
            if response.content.at_eof():
                response.release()
            else:
                response.close()


@asynccontextmanager
async def open_session(endpoint: Endpoint) -> AsyncIterator[aiohttp.ClientSession]:
    """A connection pool for one provider; bounded by who uses it, not here."""
    connector = aiohttp.TCPConnector(
        limit=0, keepalive_timeout=_KEEP_ALIVE_S, ssl=endpoint.trust or True, ttl_dns_cache=30
    )
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=endpoint.connect_s)
    async with aiohttp.ClientSession(
        connector=connector,
        timeout=timeout,
        auto_decompress=False,
        read_bufsize=_READ_BUFFER_BYTES,
        cookie_jar=aiohttp.DummyCookieJar(),
        skip_auto_headers=("user-agent",),
    ) as session:
        yield session
