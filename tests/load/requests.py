"""Requests as bytes, ready before the clock starts: making one costs a microsecond."""

import platform
from importlib.metadata import version
from urllib.parse import urlsplit

import msgspec

from tests.load.plan import Plan
from tests.load.prompts import TAG, prompts

_TEMPLATES = 512
_OPENAI_VERSION = version("openai")


class Requests:
    """An endless supply."""

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


def _template(plan: Plan, body: dict[str, object]) -> tuple[bytes, bytes]:
    """What stands before and after a request's number."""
    encoded = msgspec.json.encode(body)
    before, after = encoded.split(TAG.encode())
    return _head(plan, len(encoded)) + before + plan.salt.encode(), after


def _head(plan: Plan, length_bytes: int) -> bytes:
    """The header lines that OpenAI's own Python client sends."""
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
        "Content-Length": str(length_bytes),
    }
    lines = [
        f"POST {place.path}/{plan.operation} HTTP/1.1",
        *(f"{name}: {value}" for name, value in headers.items()),
        "",
        "",
    ]
    return "\r\n".join(lines).encode()
