"""Reads the event stream of a provider, byte by byte as it comes.

Follows the WHATWG rules as far as providers use them: lines end in LF, CRLF or CR, events in an
empty line, several ``data:`` lines join with LF, comments and other fields are passed over.
"""

MAX_EVENT_BYTES = 2 * 1024 * 1024


class EventTooLarge(Exception):
    """An event grows beyond ``MAX_EVENT_BYTES``."""


class SseDecoder:
    """Turns bytes into the data of complete events."""

    def __init__(self) -> None:
        """Start with nothing buffered."""
        self._rest = b""

    def feed(self, received: bytes) -> list[bytes]:
        """Take bytes; return the data of every event that they complete.

        Raises:
            EventTooLarge: An event does not end.
        """
        text = self._rest + received if self._rest else received
        if b"\r" in text:
            ends_in_cr = text.endswith(b"\r")  # its LF may come with the next bytes
            kept = b"\r" if ends_in_cr else b""
            text = text[: len(text) - len(kept)].replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        else:
            kept = b""
        *events, rest = text.split(b"\n\n")
        self._rest = rest + kept
        if len(self._rest) > MAX_EVENT_BYTES:
            raise EventTooLarge
        return [data for event in events if (data := _data_of(event))]

    def close(self) -> list[bytes]:
        """The stream has ended; return the data of a last event that lacks its empty line."""
        rest, self._rest = self._rest, b""
        data = _data_of(rest.replace(b"\r", b"\n"))
        return [data] if data else []


def _data_of(event: bytes) -> bytes:
    if event.startswith(b"data: ") and b"\n" not in event:
        return event[6:]
    lines = event.split(b"\n")
    return b"\n".join(line[5:].removeprefix(b" ") for line in lines if line.startswith(b"data:"))
