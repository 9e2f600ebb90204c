"""Requests as bytes: templates that are ready before the clock starts, or short questions.

To make one of a template costs a microsecond, a question some 25.
"""

import platform
from importlib.metadata import version
from typing import Protocol
from urllib.parse import urlsplit

import msgspec

from tests.load.plan import Plan
from tests.load.prompts import TAG, prompts, question
from tests.support.questions import questions

_TEMPLATES = 512
_OPENAI_VERSION = version("openai")


class Supply(Protocol):
    """An endless supply.

    Attributes:
        sent: How many were taken.
    """

    sent: int

    def next(self) -> bytes:
        """The next request, head and body."""


def supply_of(plan: Plan) -> Supply:
    """The requests of a plan."""
    return QuestionRequests(plan) if plan.questions else Requests(plan)


class Requests:
    """Those that applications send."""

    __slots__ = ("_distinct", "_templates", "sent")

    def __init__(self, plan: Plan) -> None:
        """Write the templates of a plan."""
        bodies = prompts(
            plan.operation, plan.model, stream=plan.stream, seed=plan.seed, count=_TEMPLATES
        )
        self._templates = [_template(plan, body) for body in bodies]
        self._distinct = plan.distinct
        self.sent = 0

    def next(self) -> bytes:
        """The next request, head and body."""
        number = self.sent % self._distinct if self._distinct else self.sent
        self.sent += 1
        before, after = self._templates[number % _TEMPLATES]
        return b"%b%08x%b" % (before, number, after)


class QuestionRequests:
    """Short questions, each another."""

    __slots__ = ("_head", "_model", "_questions", "sent")

    def __init__(self, plan: Plan) -> None:
        """Begin those of a plan's seed and salt."""
        self._head = _head(plan)
        self._model = plan.model
        self._questions = questions(f"{plan.seed} {plan.salt}")
        self.sent = 0

    def next(self) -> bytes:
        """The next request, head and body."""
        self.sent += 1
        body = msgspec.json.encode(question(next(self._questions).text, self._model))
        return b"%b%d\r\n\r\n%b" % (self._head, len(body), body)


def _template(plan: Plan, body: dict[str, object]) -> tuple[bytes, bytes]:
    """What stands before and after a request's number."""
    encoded = msgspec.json.encode(body)
    before, after = encoded.split(TAG.encode())
    head = b"%b%d\r\n\r\n" % (_head(plan), len(encoded))
    return head + before + plan.salt.encode(), after


def _head(plan: Plan) -> bytes:
    """The header lines that OpenAI's own Python client sends, up to the length of the body."""
    place = urlsplit(plan.url)
    headers = {
        "Host": place.netloc,
        "Accept-Encoding": "identity",
        "Connection": "keep-alive",
        "Accept": "application/json",
        "Content-Type": "application/json",
        "User-Agent": f"AsyncOpenAI/Python {_OPENAI_VERSION}",
        "X-Stainless-Lang": "python",
        "X-Stainless-Package-Version": _OPENAI_VERSION,
        "X-Stainless-OS": platform.system(),
        "X-Stainless-Arch": platform.machine(),
        "X-Stainless-Runtime": platform.python_implementation(),
        "X-Stainless-Runtime-Version": platform.python_version(),
        "X-Stainless-Async": "async:asyncio",
        "X-Stainless-Retry-Count": "0",
        "X-Stainless-Read-Timeout": "600",
        "Authorization": f"Bearer {plan.key}",
    }
    if plan.cache_control:
        headers["Cache-Control"] = plan.cache_control
    lines = [
        f"POST {place.path}/{plan.operation} HTTP/1.1",
        *(f"{name}: {value}" for name, value in headers.items()),
        "Content-Length: ",
    ]
    return "\r\n".join(lines).encode()
