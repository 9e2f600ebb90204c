"""What the topics know of a caller's own requests."""

import asyncio

from services.shared.domain.errors import PublicError, Unavailable
from services.shared.domain.events import CacheMissed, InferenceFinished
from services.shared.domain.ids import origin_from_request_id
from services.shared.ports.record_finder import RecordFinder

UNKNOWN = PublicError(
    code="not_found", message="There is no such request, or it is not yours.", param="id"
)
AWAY = PublicError(
    code="upstream_unavailable",
    message="The log cannot be read now. Try again in a moment.",
    retry_after_ms=2000,
)
_LOOK_UPS_AT_ONCE = 8
"""Each one reads the log by a connection of its own."""


class OwnRequests:
    """Looks requests up; those of other tenants look like requests that never were."""

    def __init__(self, finder: RecordFinder) -> None:
        """Use a finder."""
        self._finder = finder
        self._turns = asyncio.Semaphore(_LOOK_UPS_AT_ONCE)

    async def find(
        self, request_id: str, tenant: str
    ) -> InferenceFinished | CacheMissed | PublicError:
        """How a request ended, else how it came in, else why neither can be said."""
        if origin_from_request_id(request_id) is None:
            return UNKNOWN
        try:
            async with self._turns:
                finished = await self._finder.find_terminal(request_id)
                if finished is not None:
                    return finished if finished.tenant == tenant else UNKNOWN
                missed = await self._finder.find_miss(request_id)
        except Unavailable:
            return AWAY
        return missed if missed is not None and missed.request.tenant == tenant else UNKNOWN
