"""Every bound of the front door, as one value."""

import msgspec


class FrontDoorLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds on time and size; each is checked at most one sweep late.

    Attributes:
        idle_s: A new connection may stay silent so long.
        head_s: A request's line and headers may take so long from their first byte.
        keep_alive_s: A connection may wait so long for its next request. Longer than the idle
            timeout of common load balancers, so that they close first.
        body_stall_s: A body may make no progress so long.
        body_grace_s: After so long a body must have kept ``min_body_bytes_per_s``.
        min_body_bytes_per_s: Slowest average arrival of a body.
        max_header_bytes: All header names and values with their separators.
        max_headers: Header lines.
        max_uri_bytes: Request target.
        max_body_bytes: Body, without chunk framing.
        max_unanswered_body_bytes: Bodies of all requests whose answer has not begun.
        max_pipelined: Requests of one connection that may wait behind one being answered.
        max_connections: Connections served; beyond it 503, a tenth beyond it a reset.
        linger_s: After a refusal the connection stays open so long, so that the refusal arrives.
        linger_bytes: What a refused client may still send meanwhile; it is thrown away.
        max_unsent_bytes: Unsent answer bytes of a connection from which on ``send`` waits.
        write_stall_s: A reader may take nothing so long. Also TCP_USER_TIMEOUT.
        send_buffer_bytes: SO_SNDBUF. Linux reserves twice as much.
        receive_buffer_bytes: SO_RCVBUF. Linux reserves twice as much.
        drain_s: Open answers may take so long after shutdown began.
        notice_s: Time after ``on_drain_over`` until tasks are cancelled.
        cancel_s: Time after cancellation until sockets are reset.
        lifespan_s: Time for the ASGI lifespan's shutdown.
        sweep_s: How often time limits are checked.
    """

    idle_s: float = 15.0
    head_s: float = 10.0
    keep_alive_s: float = 75.0
    body_stall_s: float = 10.0
    body_grace_s: float = 10.0
    min_body_bytes_per_s: int = 1024
    max_header_bytes: int = 16 * 1024
    max_headers: int = 100
    max_uri_bytes: int = 8 * 1024
    max_body_bytes: int = 4 * 1024 * 1024
    max_unanswered_body_bytes: int = 128 * 1024 * 1024
    max_pipelined: int = 16
    max_connections: int = 10_000
    linger_s: float = 1.0
    linger_bytes: int = 1024 * 1024
    max_unsent_bytes: int = 256 * 1024
    write_stall_s: float = 20.0
    send_buffer_bytes: int = 64 * 1024
    receive_buffer_bytes: int = 256 * 1024
    drain_s: float = 25.0
    notice_s: float = 2.0
    cancel_s: float = 1.0
    lifespan_s: float = 1.0
    sweep_s: float = 1.0
