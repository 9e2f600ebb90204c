"""One exchange: ASGI's order, one write an event, and what a reader that stalls costs."""

import asyncio
from collections.abc import Callable

import pytest

from services.gateway.front_door.exchange import ClientGone, Exchange
from services.gateway.front_door.outlet import Outlet
from services.gateway.front_door.request_head import BodyFraming, RequestHead
from services.shared.domain.errors import PublicError


class Wire(asyncio.Transport):
    """A transport that keeps its writes apart; ``unsent_bytes`` is what the client left."""

    def __init__(self) -> None:
        """Nothing was written."""
        super().__init__()
        self.writes: list[bytes] = []
        self.unsent_bytes = 0

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Keep a write."""
        self.writes.append(bytes(data))

    def get_write_buffer_size(self) -> int:
        """What the client has not taken."""
        return self.unsent_bytes


class Connection:
    """What an exchange tells its connection."""

    def __init__(self) -> None:
        """Nothing was told."""
        self.date_line = b""
        self.told: list[str] = []

    def body_taken(self) -> None:
        """Told."""
        self.told.append("body_taken")

    def answer_begins(self, exchange: Exchange) -> bool:
        """Told; another request may follow."""
        self.told.append("answer_begins")
        return exchange.keep_alive

    def answered(self, exchange: Exchange) -> None:
        """Told."""
        del exchange
        self.told.append("answered")

    def fail(self, exchange: Exchange, error: PublicError) -> None:
        """Told."""
        exchange.gone()
        self.told.append(error.code)


START = {"type": "http.response.start", "status": 200, "headers": []}


@pytest.fixture
def wire() -> Wire:
    """The socket."""
    return Wire()


@pytest.fixture
def connection() -> Connection:
    """The connection."""
    return Connection()


@pytest.fixture
def make(wire: Wire, connection: Connection) -> Callable[..., Exchange]:
    """Makes an exchange of a given framing."""

    def make(**framing: bool | int) -> Exchange:
        head = RequestHead(
            version="1.1",
            method="POST",
            path=b"/",
            query=b"",
            headers=[],
            body=BodyFraming(**framing),  # type: ignore[arg-type]
        )
        return Exchange(connection, Outlet(wire, now=0.0), head, keep_alive=True)

    return make


async def test_each_event_of_a_stream_is_one_write(
    make: Callable[..., Exchange], wire: Wire, connection: Connection
) -> None:
    """Framing and data leave together, and the end of the stream with its last event."""
    exchange = make()
    await exchange.send(START)
    for event in (b"data: 1\n\n", b"data: 2\n\n"):
        await exchange.send({"type": "http.response.body", "body": event, "more_body": True})
    await exchange.send({"type": "http.response.body", "body": b"data: [DONE]\n\n"})
    assert wire.writes[1:] == [
        b"9\r\ndata: 1\n\n\r\n",
        b"9\r\ndata: 2\n\n\r\n",
        b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n",
    ]
    assert connection.told == ["answer_begins", "answered"]


async def test_answer_of_known_length_is_one_write(
    make: Callable[..., Exchange], wire: Wire
) -> None:
    """Head and body of a JSON answer leave in one piece."""
    exchange = make()
    await exchange.send({**START, "headers": [(b"content-length", b"2")]})
    assert wire.writes == []
    await exchange.send({"type": "http.response.body", "body": b"{}"})
    assert wire.writes == [b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"]


async def test_empty_body_message_in_a_stream_writes_nothing(
    make: Callable[..., Exchange], wire: Wire
) -> None:
    """An empty chunk would be the end of the stream."""
    exchange = make()
    await exchange.send(START)
    await exchange.send({"type": "http.response.body", "body": b"", "more_body": True})
    assert len(wire.writes) == 1


@pytest.mark.parametrize("body", [b"a", b"abc"])
async def test_body_of_another_length_than_announced_is_an_error(
    make: Callable[..., Exchange], wire: Wire, body: bytes
) -> None:
    """Too short or too long: nothing of it is written, so the client can still be told."""
    exchange = make()
    await exchange.send({**START, "headers": [(b"content-length", b"2")]})
    with pytest.raises(RuntimeError, match="length"):
        await exchange.send({"type": "http.response.body", "body": body})
    assert wire.writes == []


@pytest.mark.parametrize(
    "messages",
    [
        [{"type": "http.response.body", "body": b""}],
        [START, START],
        [START, {"type": "http.response.body"}, {"type": "http.response.body"}],
        [{"type": "websocket.accept"}],
    ],
)
async def test_messages_out_of_order_are_an_error(
    make: Callable[..., Exchange], messages: list[dict[str, object]]
) -> None:
    """ASGI's order is kept by the application or the answer fails."""
    exchange = make()
    *good, bad = messages
    for message in good:
        await exchange.send(message)
    with pytest.raises(RuntimeError, match="out of order"):
        await exchange.send(bad)


async def test_body_is_given_in_pieces_and_once(
    make: Callable[..., Exchange], connection: Connection
) -> None:
    """What arrived between two calls comes as one piece; the last piece says that it is."""
    exchange = make(is_chunked=True)
    exchange.body_arrived(b"a")
    exchange.body_arrived(b"b")
    assert await exchange.receive() == {"type": "http.request", "body": b"ab", "more_body": True}
    assert exchange.untaken_bytes == 0
    later = asyncio.create_task(exchange.receive())
    await asyncio.sleep(0)
    exchange.body_arrived(b"c")
    exchange.body_ended()
    assert await later == {"type": "http.request", "body": b"c", "more_body": False}
    assert connection.told == ["body_taken", "body_taken"]


async def test_receive_waits_after_the_body_until_the_client_leaves(
    make: Callable[..., Exchange],
) -> None:
    """Everybody who waits is told, and ``on_gone`` is called once."""
    exchange = make()
    exchange.body_ended()
    assert (await exchange.receive())["more_body"] is False
    calls: list[int] = []
    exchange.on_gone = lambda: calls.append(1)
    waiting = [asyncio.create_task(exchange.receive()) for _ in range(2)]
    await asyncio.sleep(0)
    exchange.gone()
    exchange.gone()
    assert await asyncio.gather(*waiting) == [{"type": "http.disconnect"}] * 2
    assert calls == [1]
    with pytest.raises(ClientGone):
        await exchange.send(START)


async def test_receive_after_the_answer_says_that_all_is_over(
    make: Callable[..., Exchange],
) -> None:
    """A client that leaves after its answer is not gone in the middle of anything."""
    exchange = make()
    exchange.body_ended()
    await exchange.receive()
    exchange.on_gone = lambda: pytest.fail("the answer was complete")
    await exchange.send(START)
    waiting = asyncio.create_task(exchange.receive())
    await asyncio.sleep(0)
    await exchange.send({"type": "http.response.body", "body": b"x"})
    assert await waiting == {"type": "http.disconnect"}
    exchange.gone()


async def test_continue_is_written_once_and_not_for_a_body_that_is_here(
    make: Callable[..., Exchange], wire: Wire
) -> None:
    """100 is for a client that waits."""
    exchange = make(length_bytes=1, expects_continue=True)
    waiting = asyncio.create_task(exchange.receive())
    await asyncio.sleep(0)
    exchange.body_arrived(b"a")
    exchange.body_ended()
    await waiting
    impatient = make(length_bytes=1, expects_continue=True)
    impatient.body_arrived(b"a")
    impatient.body_ended()
    await impatient.receive()
    assert wire.writes == [b"HTTP/1.1 100 Continue\r\n\r\n"]


async def test_send_waits_while_too_much_is_unsent(
    make: Callable[..., Exchange], wire: Wire
) -> None:
    """Back-pressure reaches the application; a client that leaves ends the wait."""
    exchange = make()
    await exchange.send(START)
    exchange._outlet.congest()
    sending = asyncio.create_task(
        exchange.send({"type": "http.response.body", "body": b"x", "more_body": True})
    )
    await asyncio.sleep(0)
    assert not sending.done()
    exchange._outlet.free()
    await sending
    assert wire.writes[-1] == b"1\r\nx\r\n"
    exchange._outlet.congest()
    sending = asyncio.create_task(exchange.send({"type": "http.response.body", "body": b"y"}))
    await asyncio.sleep(0)
    exchange.gone()
    exchange._outlet.free()
    with pytest.raises(ClientGone):
        await sending


def test_stall_is_time_without_progress_and_not_time_with_something_unsent(wire: Wire) -> None:
    """Any byte that the socket takes starts the count anew; nothing unsent is no stall."""
    outlet = Outlet(wire, now=0.0)
    assert outlet.stalled_s(100.0) == 0
    outlet.write(b"x" * 100)
    wire.unsent_bytes = 100
    assert outlet.stalled_s(101.0) == 1
    wire.unsent_bytes = 60
    assert outlet.stalled_s(105.0) == 0
    outlet.write(b"y" * 40)
    wire.unsent_bytes = 100
    assert outlet.stalled_s(112.0) == 7
    wire.unsent_bytes = 0
    assert outlet.stalled_s(113.0) == 0
    assert outlet.stalled_s(999.0) == 0
