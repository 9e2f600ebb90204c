"""What an answer says: its words, its end, its error."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from tests.faults.checker.history import Event, Operation

DONE = "[DONE]"


def parsed(data: str) -> dict[str, Any] | None:
    """A JSON object; None where it is none."""
    try:
        document = json.loads(data)
    except ValueError:
        return None
    return document if isinstance(document, dict) else None


def words(event: Event) -> str:
    """The words of an event."""
    document = parsed(event.data) or {}
    choices = document.get("choices") or ()
    return "".join((choice.get("delta") or {}).get("content") or "" for choice in choices)


def text_of_events(events: Iterable[Event]) -> str:
    """All words of a stream, in the order of their arrival."""
    return "".join(words(event) for event in events)


def text_of_body(body: str | bytes) -> str | None:
    """The words of an answer in one piece; None where it is no answer."""
    document = parsed(body if isinstance(body, str) else body.decode(errors="replace"))
    if document is None or not document.get("choices"):
        return None
    content: str | None = document["choices"][0].get("message", {}).get("content")
    return content or ""


def text_of(operation: Operation) -> str:
    """The words that a client got."""
    if operation.is_stream or operation.kind == "resume":
        return text_of_events(operation.events)
    return text_of_body(operation.body) or ""


def is_end(event: Event) -> bool:
    """Whether nothing may follow."""
    return event.data == DONE or is_error(event)


def is_error(event: Event) -> bool:
    """Whether it says that there is no more."""
    return "error" in (parsed(event.data) or {})


def has_finish_reason(events: Iterable[Event]) -> bool:
    """Whether the model said why it stopped."""
    return any(
        choice.get("finish_reason")
        for event in events
        for choice in (parsed(event.data) or {}).get("choices") or ()
    )


def text_of_terminal(record: Mapping[str, Any]) -> str | None:
    """The words of a terminal record; None where it has none."""
    return text_of_body(record["response"]) if record["response"] else None
