"""When a window opens, grows and closes.

A window belongs to one partition, one lane and one priority. It closes by count, tokens or bytes
as soon as it is full, by time otherwise, and early enough for the earliest deadline in it. A lane
whose windows have lately held one request each gains nothing by waiting and closes at once, so a
lone request is not delayed; requests that came in the same poll still leave together.
"""

from collections.abc import Sequence

import msgspec

from services.shared.domain.configuration import BatchWindow
from services.shared.domain.events import RequestRouted

DEADLINE_MARGIN_MS = 50.0
"""A window closes at least this long before the earliest deadline in it."""

WORTH_WAITING = 1.2
"""Requests that a window must gain by waiting, on average, for the wait to go on."""

_MEMORY = 0.2
_PROBE_EVERY = 32
_LONG_AGO_WINDOWS = 2.0


class WindowKey(msgspec.Struct, frozen=True):
    """Which requests share a window.

    Attributes:
        partition: Partition of their records.
        lane: Provider, model and operation, and the tenant where tenants may not be mixed.
        priority: 0..2.
        merge: Whether they share one upstream call.
    """

    partition: int
    lane: str
    priority: int
    merge: bool


class Window(msgspec.Struct):
    """What a window holds.

    Attributes:
        opened_at_ms: When its first request came, unix ms.
        close_at_ms: When it closes by time, unix ms.
        count: Requests in it.
        tokens: Their estimated input tokens.
        size_bytes: Bytes of their bodies.
        first_count: Requests that came with the first one.
    """

    opened_at_ms: float
    close_at_ms: float
    count: int = 0
    tokens: int = 0
    size_bytes: int = 0
    first_count: int = 0


def opened(policy: BatchWindow, *, now_ms: float) -> Window:
    """A new window."""
    return Window(opened_at_ms=now_ms, close_at_ms=now_ms + policy.window_ms)


def fits(window: Window, routed: RequestRouted, policy: BatchWindow) -> bool:
    """Whether a request may still join; one that is too large for any window goes alone."""
    return not window.count or (
        window.tokens + routed.request.estimated_input_tokens <= policy.max_tokens
        and window.size_bytes + len(routed.request.body) <= policy.max_bytes
    )


def joined(window: Window, routed: RequestRouted) -> None:
    """Add a request to a window."""
    request = routed.request
    window.count += 1
    window.tokens += request.estimated_input_tokens
    window.size_bytes += len(request.body)
    if request.deadline_at:
        latest_ms = request.deadline_at - DEADLINE_MARGIN_MS
        window.close_at_ms = min(window.close_at_ms, max(window.opened_at_ms, latest_ms))


def full_by(window: Window, policy: BatchWindow) -> str | None:
    """What fills a window, if it is full: ``count``, ``tokens`` or ``bytes``."""
    if window.count >= policy.max_count:
        return "count"
    if window.tokens >= policy.max_tokens:
        return "tokens"
    if window.size_bytes >= policy.max_bytes:
        return "bytes"
    return None


def closed_by_time(window: Window, policy: BatchWindow) -> str:
    """Whether it was the window's own time or a deadline that closed it."""
    own_ms = window.opened_at_ms + policy.window_ms
    return "time" if window.close_at_ms >= own_ms else "deadline"


class LaneGain(msgspec.Struct):
    """What waiting has lately been worth in a lane.

    Attributes:
        gain: Mean requests that joined after the first poll, moving average; starts hopeful.
        skipped: Windows that were not waited for since the last that was.
        opened_at_ms: When its last window opened, unix ms; 0 = it had none.
    """

    gain: float = 2.0
    skipped: int = 0
    opened_at_ms: float = 0.0


def should_wait(lane: LaneGain, policy: BatchWindow, *, since_ms: float = 0.0) -> bool:
    """Whether a new window in this lane is held open for others.

    A lane that gave up waiting is tried again from time to time: traffic may have grown. One whose
    last window is long ago has nothing to wait for.

    Args:
        lane: What is known of the lane.
        policy: Bounds of windows.
        since_ms: Time since its last window opened.
    """
    if policy.window_ms <= 0 or since_ms > _LONG_AGO_WINDOWS * policy.window_ms:
        return False
    return lane.gain >= WORTH_WAITING or lane.skipped >= _PROBE_EVERY


def learned(lane: LaneGain, window: Window, *, waited: bool) -> None:
    """Remember what a closed window gained."""
    if not waited:
        # Without waiting nothing is seen of what would have come, but a burst in one poll is.
        lane.skipped += 1 if window.count == 1 else _PROBE_EVERY // 4
        return
    lane.skipped = 0
    seen = 1.0 + window.count - window.first_count
    lane.gain += _MEMORY * (seen - lane.gain)


def lane_of(routed: RequestRouted, *, mixes_tenants: bool) -> str:
    """The lane a request is gathered in."""
    return routed.lane if mixes_tenants else f"{routed.lane}/{routed.request.tenant}"


def by_deadline(members: Sequence[RequestRouted]) -> list[RequestRouted]:
    """Members of a batch, the most urgent first."""
    return sorted(members, key=lambda m: m.request.deadline_at or 1 << 62)
