"""Ends open answers when a gateway leaves before they are whole."""

import asyncio
import logging

from services.gateway.replies import Replies
from services.gateway.streams import Streams
from services.shared.domain.errors import PublicError

_LOG = logging.getLogger(__name__)
_LEAVING = PublicError(
    code="server_shutting_down",
    message="This gateway is shutting down. Ask again; another one answers.",
    retry_after_ms=1000,
)


def end_all(replies: Replies, streams: Streams) -> None:
    """Tell everybody who waits that no more comes from here."""
    replies.end_all(_LEAVING)
    streams.end_all(_LEAVING)


async def end_when(lost: asyncio.Event, replies: Replies, streams: Streams) -> None:
    """Wait until the log has forgotten what it acknowledged; then answer nobody any more.

    What this process knows of the log (claims, places of chunks) is not so any more then, and
    partitions that had more of its records take no new ones; a fresh process can serve at once.
    """
    await lost.wait()
    _LOG.critical("stopping: the log does not know what it acknowledged")
    end_all(replies, streams)
