"""The request reader on a clock that stands still until it is told otherwise."""

import pytest

from services.gateway.front_door import refusals
from services.gateway.front_door.exchange import Exchange
from services.gateway.front_door.limits import FrontDoorLimits
from services.gateway.front_door.outlet import Outlet
from services.gateway.front_door.request_head import RequestHead
from services.gateway.front_door.request_reader import Reading, RequestReader
from services.shared.domain.errors import PublicError

LIMITS = FrontDoorLimits(
    head_s=10.0, body_stall_s=10.0, body_grace_s=10.0, min_body_bytes_per_s=1024
)


class Taker:
    """Takes every request and reads nothing of it."""

    def __init__(self) -> None:
        """No request has begun; the clock shows 100."""
        self.now = 100.0
        self.exchanges: list[Exchange] = []
        self.reader = RequestReader(self, limits=LIMITS, clock=lambda: self.now)

    def request_begins(self, head: RequestHead, *, keep_alive: bool) -> Exchange:
        """Take a request."""
        outlet: Outlet = None  # type: ignore[assignment]
        self.exchanges.append(Exchange(None, outlet, head, keep_alive=keep_alive))  # type: ignore[arg-type]
        return self.exchanges[-1]

    def body_arrived(self, exchange: Exchange, part: bytes) -> PublicError | None:
        """Take a part of a body."""
        exchange.body_arrived(part)
        return None

    def feed(self, data: bytes, *, after_s: float = 0.0) -> PublicError | None:
        """Let time pass, then let bytes arrive."""
        self.now += after_s
        return self.reader.feed(data)

    def overdue_after(self, after_s: float) -> PublicError | None:
        """Let time pass, then look at the clock."""
        self.now += after_s
        return self.reader.overdue(self.now)


HEAD = b"POST /v1 HTTP/1.1\r\nhost: a\r\ncontent-length: 100000\r\n\r\n"
CHUNKED = b"POST /v1 HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"


def test_head_has_its_time_from_its_first_byte_whatever_trickles_in() -> None:
    """Progress does not prolong the time for a head."""
    taker = Taker()
    taker.feed(b"P")
    for byte in b"OST /v1":
        assert taker.feed(bytes([byte]), after_s=1.0) is None
    assert taker.overdue_after(2.9) is None
    assert taker.overdue_after(0.1) == refusals.HEAD_TIMED_OUT


def test_each_head_of_a_connection_has_its_own_time() -> None:
    """A long life of the connection is not held against its next request."""
    taker = Taker()
    for _ in range(3):
        assert taker.feed(b"GET /v1 HTTP/1.1\r\nhost: a\r\n\r\nGET", after_s=9.0) is None
        assert taker.overdue_after(9.9) is None
        taker.feed(b" /v1 HTTP/1.1\r\nhost: a\r\n\r\n")
        assert taker.reader.state is Reading.WHOLE
        assert taker.overdue_after(1000.0) is None


def test_body_without_progress_times_out() -> None:
    """A body may pause for less than the limit, and no longer."""
    taker = Taker()
    taker.feed(HEAD + b"a" * 50_000)
    assert taker.overdue_after(9.9) is None
    taker.feed(b"a" * 30_000)
    assert taker.overdue_after(9.9) is None
    assert taker.overdue_after(0.1) == refusals.BODY_TIMED_OUT


def test_body_below_the_least_rate_times_out_after_the_grace() -> None:
    """1 KiB/s on average passes; a byte a second does not, although it makes progress."""
    slow, quick = Taker(), Taker()
    for taker, part in ((slow, b"a"), (quick, b"a" * 1025)):
        taker.feed(HEAD)
        for _ in range(9):
            taker.feed(part, after_s=1.0)
            assert taker.reader.overdue(taker.now) is None
        taker.feed(part, after_s=1.0)
    assert slow.reader.overdue(slow.now) == refusals.BODY_TIMED_OUT
    assert quick.reader.overdue(quick.now) is None


def test_framing_alone_is_no_progress() -> None:
    """Chunk extensions without data do not keep a body alive."""
    taker = Taker()
    taker.feed(CHUNKED + b"1\r\na\r\n")
    for _ in range(9):
        taker.feed(b"1;x", after_s=1.0)
        taker.feed(b"=y\r\n")
        taker.reader.overdue(taker.now)
        taker.feed(b"b\r\n")
    taker.feed(b"1;" + b"x" * 10)
    for _ in range(9):
        taker.feed(b"x" * 10, after_s=1.0)
    assert taker.overdue_after(1.0) == refusals.BODY_TIMED_OUT


def test_time_while_reading_was_paused_does_not_count() -> None:
    """The clock and the rate start anew when we read on."""
    taker = Taker()
    taker.feed(HEAD + b"a" * 70_000)
    taker.now += 60.0
    taker.reader.resumed()
    assert taker.reader.overdue(taker.now) is None
    assert taker.overdue_after(9.9) is None
    assert taker.overdue_after(0.1) == refusals.BODY_TIMED_OUT


@pytest.mark.parametrize("part", [b"a" * 1000, b"x: a\r\n" * 50])
def test_head_without_end_is_refused_before_it_fills_memory(part: bytes) -> None:
    """One endless header or many: what is kept of an unfinished head is bounded."""
    taker = Taker()
    refusal = taker.feed(b"GET /v1 HTTP/1.1\r\nhost: a\r\nx: ")
    sent_bytes = 0
    while refusal is None and sent_bytes < 10**6:
        refusal = taker.feed(part)
        sent_bytes += len(part)
    assert refusal is not None
    assert refusal.code == "headers_too_large"
    assert sent_bytes <= LIMITS.max_header_bytes + LIMITS.max_uri_bytes + len(part)


def test_large_buffer_of_earlier_requests_does_not_count_for_the_next_head() -> None:
    """Bytes of a body before a head in the same buffer are not the head's."""
    taker = Taker()
    taker.feed(HEAD)
    assert taker.feed(b"a" * 100_000 + b"GET /v1 HTTP/1.1\r\nho") is None
    assert taker.feed(b"st: a\r\n\r\n") is None
    assert taker.reader.state is Reading.WHOLE
    assert len(taker.exchanges) == 2


def test_fault_of_ours_is_not_taken_for_the_client_s() -> None:
    """An exception in what takes requests is raised, not answered with 400."""

    class Broken(Taker):
        def request_begins(self, head: RequestHead, *, keep_alive: bool) -> Exchange:
            raise LookupError("made up")

    with pytest.raises(Exception, match="callback error") as raised:
        Broken().feed(HEAD)
    assert isinstance(raised.value.__context__, LookupError)
