"""``POST /v1/chat/completions``, ``/v1/completions``, ``/v1/embeddings``: ask, wait, answer."""

from services.gateway.acceptance import accepted
from services.gateway.answering import Answering
from services.gateway.asgi import Handler, Request, Send, send_error
from services.gateway.attached import Attached
from services.gateway.claims import HEADER, Own, idempotency_key
from services.gateway.desk import Desk
from services.shared.domain.errors import PublicError
from services.shared.domain.events import InferenceRequested, Operation


def inference(operation: Operation, desk: Desk) -> Handler:
    """The handler of one operation's path."""

    async def refuse(request: Request, send: Send, error: PublicError) -> None:
        desk.metrics.answers.labels(operation.value, error.meaning.status, error.code).inc()
        await send_error(send, error, request_id=request.id)

    async def handle(request: Request, send: Send) -> None:
        started_ms = desk.clock.now_ms()
        requested = await accepted(operation, request, desk, started_ms)
        if isinstance(requested, PublicError):
            await refuse(request, send, requested)
            return
        match await _standing(request, requested, desk, started_ms):
            case Own():
                await Answering(request, send, desk, requested, started_ms).run()
            case Attached() as attached:
                try:
                    answering = Answering(request, send, desk, attached.request, started_ms)
                    await answering.run_attached(attached.waiter)
                finally:
                    attached.release()
            case PublicError() as error:
                await refuse(request, send, error)

    return handle


async def _standing(
    request: Request, requested: InferenceRequested, desk: Desk, started_ms: float
) -> Own | Attached | PublicError:
    key = idempotency_key(request.all_of(HEADER)) if HEADER in request.headers else None
    if key is None:
        return Own()
    if isinstance(key, PublicError):
        return key
    return await desk.idempotency.stand(requested, key, arrived_ms=started_ms)
