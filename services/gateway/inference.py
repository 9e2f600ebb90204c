"""``POST /v1/chat/completions``, ``/v1/completions``, ``/v1/embeddings``: ask, wait, answer."""

from services.gateway.acceptance import accepted
from services.gateway.answering import Answering
from services.gateway.asgi import Handler, Request, Send, send_error
from services.gateway.desk import Desk
from services.shared.domain.errors import PublicError
from services.shared.domain.events import Operation


def inference(operation: Operation, desk: Desk) -> Handler:
    """The handler of one operation's path."""

    async def handle(request: Request, send: Send) -> None:
        started_ms = desk.clock.now_ms()
        requested = await accepted(operation, request, desk, started_ms)
        if isinstance(requested, PublicError):
            desk.metrics.answers.labels(
                operation.value, requested.meaning.status, requested.code
            ).inc()
            await send_error(send, requested, request_id=request.id)
            return
        await Answering(request, send, desk, requested, started_ms).run()

    return handle
