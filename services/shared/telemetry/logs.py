"""One JSON object a line on stderr; never a secret, never a prompt.

A record's ``extra`` fields become members of the object. Exceptions are logged by type and place,
without their values: a value may be a caller's text.
"""

import datetime
import logging
import sys
import traceback

import msgspec

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_FRAMES = 6


class JsonFormatter(logging.Formatter):
    """Formats a log record as one line of JSON."""

    def __init__(self, *, service: str) -> None:
        """Remember the service that every line names."""
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        """Render one line."""
        at = datetime.datetime.fromtimestamp(record.created, tz=datetime.UTC)
        line: dict[str, object] = {
            "at": at.isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "service": self._service,
            "logger": record.name,
            "message": record.getMessage(),
        }
        line.update({k: v for k, v in vars(record).items() if k not in _STANDARD})
        if record.exc_info and record.exc_info[1] is not None:
            error = record.exc_info[1]
            line["error"] = type(error).__name__
            line["where"] = [
                f"{frame.filename.rpartition('/')[2]}:{frame.lineno} {frame.name}"
                for frame in traceback.extract_tb(error.__traceback__)[-_FRAMES:]
            ]
        return msgspec.json.encode(line, enc_hook=str).decode()


def set_up_logging(*, service: str, level: str) -> None:
    """Send all logs of the process to stderr; libraries only from warnings on.

    aiokafka reports each failed connection, up to a thousand times a second, and raises it as well;
    the runtime logs what it raises, once, so its own lines are for ``debug`` only.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(service=service))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("services").setLevel(level.upper())
    if level.lower() != "debug":
        logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
