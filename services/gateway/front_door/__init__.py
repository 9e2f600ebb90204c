"""The front door: HTTP/1.1 in, ASGI out, nothing unbounded in between.

It stands where uvicorn's HTTP protocol stands and keeps what that one leaves open: time limits on
heads, bodies and stalled readers, bounds on every size, strict framing, OpenAI's error object for
every refusal, and a shutdown that ends. The parser is httptools (llhttp); uvicorn gives the ASGI
lifespan and the listening loop.

::

    server.serve ── listens, drains, stops
      └── door.FrontDoor ── shared by all connections: limits, counters, one sweep per second
            └── connection.Connection ── one socket: parses, bounds, refuses
                  └── exchange.Exchange ── one request and its answer: ASGI's receive and send

The seam, for whoever writes the application::

    door = FrontDoor(limits=FrontDoorLimits(), new_request_id=...)
    stop = stop_on_signals()                       # SIGTERM, SIGINT
    hooks = ServerHooks(on_ready=..., on_shutdown=..., on_drain_over=...)
    await serve(app, door=door, address=("127.0.0.1", 8080), stop=stop, hooks=hooks)

What the application may rely on:

* ``app`` is a plain ASGI 3 application. The scope says ``spec_version`` 2.4: ``send`` raises
  ``ClientGone`` (an ``OSError``) once the client has left, so no task need watch ``receive``.
* ``scope["path"]`` is what the client sent, **never percent-decoded** and never normalised: route
  on it as it is, and unquote a single segment where it is a parameter. Scheme and host of an
  absolute URI are dropped. The one ``host`` header is for information only.
* Framing is checked: exactly one ``host``; one valid ``content-length`` or one ``chunked``; the
  body that ``receive`` yields is within ``max_body_bytes``. The application starts when the head
  is complete and the body is read only as fast as it is taken, so authenticate, look at
  ``content-type`` and ``content-encoding`` first, then call ``receive``. A request that
  fails while its body is read is answered by the front door: ``receive`` then yields
  ``http.disconnect`` and the application returns. An answer that starts before the body was read
  closes the connection afterwards.
* Every header value is checked for line breaks before it is written: ``send`` raises ``ValueError``
  and writes nothing. Give ``content-length`` and the whole answer leaves in one write; leave it
  out and the answer is chunked (HTTP/1.0: ended by closing).
* One ``http.response.body`` message is one socket write. Send the last event of a stream together
  with ``more_body: False``. ``send`` waits while more than ``max_unsent_bytes`` are unsent; a
  reader that takes nothing for ``write_stall_s`` is cut and ``send`` raises ``ClientGone``.
* ``scope["millrace.exchange"]`` is the ``Exchange``. Set its ``on_gone`` to be called, without a
  task, when the client leaves before its answer is complete. (Absent under another server.)
* An exception of the application becomes a 500 with OpenAI's error object, or, once bytes of the
  answer are out, a cut connection: never an end that looks clean.

Shutdown, once ``stop`` is set: ``on_shutdown`` (let ``/readyz`` say no), listening ends, idle
connections close, new requests get 503 and Retry-After; open answers have ``drain_s``; then
``on_drain_over`` (end each open stream with the error event ``server_shutting_down``) and
``notice_s``; then the applications' tasks are cancelled (a request whose answer has not begun gets
503) and have ``cancel_s``; then sockets are reset. With the defaults at most 28 s, and 1 s for the
ASGI lifespan.
"""
