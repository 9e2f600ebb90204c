"""The simulator as an ASGI application: routes, keys, and the log of calls."""

import hmac
from collections.abc import Callable
from urllib.parse import parse_qs

import msgspec

from services.simulator.answering import (
    REDIRECTED_PATH,
    Answer,
    Arrival,
    Silence,
    answer,
    header,
    refused,
)
from services.simulator.behaviour import Behaviour, Operation
from services.simulator.calls import Call, CallLog, CallPage, watched_headers
from services.simulator.catalogue import CATALOGUE
from services.simulator.decide import behaviour_from_model
from services.simulator.exchange import BodyTooLarge, ClientGone, Exchange, Receive, Scope, Send
from services.simulator.journal import Journal
from services.simulator.limits import Limits
from services.simulator.metrics import CONTENT_TYPE, Metrics
from services.simulator.refusals import (
    METHOD_NOT_ALLOWED,
    NOT_FOUND,
    TOO_LARGE,
    WRONG_KEY,
    Refusal,
    unknown_model,
)
from services.simulator.replies import Reply
from services.simulator.settings import SimulatorSettings
from services.simulator.ticker import Ticker
from services.simulator.whole import json_reply
from services.simulator.wire import CREATED_S, encode_json

_OPERATIONS = {
    "/v1/chat/completions": Operation.CHAT,
    "/v1/completions": Operation.COMPLETION,
    "/v1/embeddings": Operation.EMBEDDING,
}
_MODELS_PATH = "/v1/models"
_CALLS_PATH = "/v1/simulator/calls"
_METRICS_PATH = "/metrics"
_PROBE_PATHS = frozenset({"/livez", "/readyz"})
_PATHS = frozenset({*_PROBE_PATHS, *_OPERATIONS, _METRICS_PATH, _MODELS_PATH, _CALLS_PATH})
_MAX_PAGE = 10_000


class _Model(msgspec.Struct):
    """An entry of ``GET /v1/models``."""

    id: str
    object: str = "model"
    created: int = CREATED_S
    owned_by: str = "simulator"


def _first(query: dict[str, list[str]], name: str) -> str:
    return query.get(name, [""])[0]


def _whole_number(text: str, default: int) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else default


class Simulator:
    """Answers OpenAI's API as the model names ask for; an ASGI application.

    Needs the connections of ``services.simulator.connection``.
    """

    def __init__(
        self,
        settings: SimulatorSettings,
        *,
        unix_ms: Callable[[], float],
        run_id: str,
        ticker: Ticker,
        journal: Journal | None = None,
    ) -> None:
        """Start with nothing called.

        Args:
            settings: Of the process.
            unix_ms: Wall clock.
            run_id: Hex digits that make ids of this process unlike another's.
            ticker: On the loop that serves.
            journal: Where each call is written before it is answered.
        """
        self._settings = settings
        self._unix_ms = unix_ms
        self._run_id = run_id
        self._ticker = ticker
        self._journal = journal
        self._limits = Limits()
        self._log = CallLog(most=settings.simulator_call_log_entries)
        self._metrics = Metrics()
        self._served = 0
        self._authorization = f"Bearer {settings.simulator_key}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        exchange = Exchange(scope, receive, send, self._ticker)
        path = scope["path"]
        operation = _OPERATIONS.get(path)
        if operation is not None and scope["method"] == "POST":
            await self._serve_call(self._opened(operation, scope), scope, exchange)
        elif path == REDIRECTED_PATH:
            await self._serve_redirected(self._opened(Operation.CHAT, scope), exchange)
        else:
            answered = self._page(scope, path)
            await self._play(exchange, answered, request_id=self._next_request_id())

    async def _serve_call(self, call: Call, scope: Scope, exchange: Exchange) -> None:
        """Answer a call, and keep its entry in the log true whatever happens."""
        arrived_ms = self._ticker.now_ms()
        try:
            answered = await self._answered(call, scope, exchange)
            await self._write_down(call)
            if isinstance(answered, Silence):
                call.outcome = await exchange.hang()
            else:
                call.status = answered.reply.status
                outcome = await self._play(exchange, answered, request_id=call.request_id)
                is_refusal = outcome == "ok" and call.status >= 300
                call.outcome = "refused" if is_refusal else outcome
        except ClientGone:
            call.outcome = "client_gone"
        finally:
            if call.outcome == "open":
                call.outcome = "aborted"
            call.finished_ms = int(self._unix_ms())
            duration_ms = self._ticker.now_ms() - arrived_ms
            self._metrics.finish(call, duration_ms=duration_ms)
        await self._write_down(call)

    async def _serve_redirected(self, call: Call, exchange: Exchange) -> None:
        """A client followed a redirect that it should not have followed."""
        answered = self._answer_now(json_reply(b"{}"))
        await self._play(exchange, answered, request_id=call.request_id)
        call.status, call.outcome = 200, "redirect_followed"
        call.finished_ms = int(self._unix_ms())
        self._metrics.finish(call, duration_ms=0)

    def _opened(self, operation: Operation, scope: Scope) -> Call:
        call = Call(
            id=self._log.total + 1,
            request_id=self._next_request_id(),
            operation=operation,
            started_ms=int(self._unix_ms()),
            headers=watched_headers(scope["headers"]),
        )
        self._log.append(call)
        self._metrics.in_flight += 1
        return call

    async def _write_down(self, call: Call) -> None:
        if self._journal is not None:
            await self._journal.append(encode_json(call))

    async def _answered(self, call: Call, scope: Scope, exchange: Exchange) -> Answer | Silence:
        if not self._has_key(scope):
            return self._refused(WRONG_KEY)
        try:
            body = await exchange.read_body(most_bytes=self._settings.simulator_max_body_bytes)
        except BodyTooLarge:
            too_large = self._refused(TOO_LARGE)
            closing = [*too_large.headers, (b"connection", b"close")]
            return msgspec.structs.replace(too_large, headers=closing)
        arrival = Arrival(
            call=call,
            body=body,
            headers=scope["headers"],
            now_ms=self._ticker.now_ms(),
            unix_ms=self._unix_ms(),
        )
        return answer(arrival, self._limits)

    def _has_key(self, scope: Scope) -> bool:
        if not self._settings.simulator_key:
            return True
        return hmac.compare_digest(header(scope["headers"], b"authorization"), self._authorization)

    def _page(self, scope: Scope, path: str) -> Answer:
        """Everything that is no call."""
        if scope["method"] != "GET":
            return self._refused(METHOD_NOT_ALLOWED if path in _PATHS else NOT_FOUND)
        if path in _PROBE_PATHS:
            return self._answer_now(json_reply(b'{"status":"ok"}'))
        if path == _METRICS_PATH:
            text = self._metrics.text()
            headers = [(b"content-type", CONTENT_TYPE)]
            return self._answer_now(
                Reply(headers=headers, frames=((0.0, text),), body_bytes=len(text))
            )
        if path in _OPERATIONS:
            return self._refused(METHOD_NOT_ALLOWED)
        if not self._has_key(scope):
            return self._refused(WRONG_KEY)
        if path == _CALLS_PATH:
            return self._answer_now(json_reply(encode_json(self._calls(scope))))
        return self._models_page(path)

    def _models_page(self, path: str) -> Answer:
        if path == _MODELS_PATH:
            models = [_Model(name) for name in CATALOGUE]
            return self._answer_now(json_reply(encode_json({"object": "list", "data": models})))
        if not path.startswith(f"{_MODELS_PATH}/"):
            return self._refused(NOT_FOUND)
        known = behaviour_from_model(path.removeprefix(f"{_MODELS_PATH}/"))
        if isinstance(known, Behaviour):
            return self._answer_now(json_reply(encode_json(_Model(known.model))))
        return self._refused(unknown_model(known))

    def _calls(self, scope: Scope) -> CallPage:
        query = parse_qs(scope["query_string"].decode("latin-1"), max_num_fields=16)
        return self._log.page(
            after=_whole_number(_first(query, "after"), 0),
            model=_first(query, "model"),
            most=min(_MAX_PAGE, _whole_number(_first(query, "limit"), 1_000)),
        )

    def _refused(self, refusal: Refusal) -> Answer:
        return refused(refusal, start_ms=self._ticker.now_ms(), unix_ms=self._unix_ms())

    def _answer_now(self, reply: Reply) -> Answer:
        return Answer(reply=reply, start_ms=self._ticker.now_ms())

    async def _play(self, exchange: Exchange, answered: Answer, *, request_id: str) -> str:
        headers = [*answered.headers, (b"x-request-id", request_id.encode())]
        return await exchange.play(answered.reply, headers=headers, start_ms=answered.start_ms)

    def _next_request_id(self) -> str:
        self._served += 1
        return f"req_{self._run_id}{self._served:016x}"
