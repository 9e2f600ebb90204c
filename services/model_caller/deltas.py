"""Puts the pieces of a streamed choice together again.

Nothing is taken for granted of a provider's JSON: parts of an unexpected kind replace what stands
in their place, so whatever comes, this neither fails nor invents.
"""

from typing import Any

from services.shared.domain.events import Operation

_REPLACED = frozenset({"role", "id", "type", "index", "name", "object", "finish_reason"})


def accumulate(whole: dict[str, Any], delta: dict[str, Any]) -> None:
    """Add a delta: texts are joined, lists merged by ``index`` or joined, the rest replaced."""
    for name, value in delta.items():
        if value is None:
            whole.setdefault(name, None)
            continue
        present = whole.get(name)
        match present, value:
            case str(), str() if name not in _REPLACED:
                whole[name] = present + value
            case dict(), dict():
                accumulate(present, value)
            case None, dict():
                whole[name] = {}
                accumulate(whole[name], value)
            case list() | None, list():
                whole[name] = _joined(present or [], value)
            case _:
                whole[name] = value


def _joined(present: list[Any], items: list[Any]) -> list[Any]:
    for item in items:
        index = item.get("index") if isinstance(item, dict) else None
        if type(index) is not int:
            present.append(item)
            continue
        numbered = (it for it in present if isinstance(it, dict) and it.get("index") == index)
        if (same := next(numbered, None)) is None:
            present.append(same := {"index": index})
        accumulate(same, item)
    return present


def whole_choice(choice: dict[str, Any], operation: Operation) -> dict[str, Any]:
    """The choice of a whole answer that the accumulated pieces of one amount to."""
    if operation is Operation.TEXT_COMPLETION:
        return {"logprobs": None, **choice, "text": choice.get("text") or ""}
    parts = {name: part for name, part in choice.items() if name != "delta"}
    said = {name: part for name, part in (choice.get("delta") or {}).items() if part is not None}
    message = {"role": "assistant", "content": None, "refusal": None, **said}
    if isinstance(calls := said.get("tool_calls"), list):
        message["tool_calls"] = [
            {name: part for name, part in call.items() if name != "index"}
            for call in calls
            if isinstance(call, dict)
        ]
    return {"logprobs": None, **parts, "message": message}


def text_bytes(value: Any) -> int:
    """Bytes of all texts in a value that grow with the output."""
    match value:
        case str():
            return len(value.encode())
        case dict():
            return sum(text_bytes(part) for name, part in value.items() if name not in _REPLACED)
        case list():
            return sum(map(text_bytes, value))
        case _:
            return 0
