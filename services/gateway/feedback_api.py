"""``POST /v1/requests/{id}/feedback``: how good an answer was."""

import msgspec

from services.gateway.asgi import Request, Send, rendered_headers, send_error, send_whole
from services.gateway.decide import authenticate
from services.gateway.desk import Desk
from services.gateway.feedback import Opinion, opinion_from
from services.gateway.own_requests import AWAY, OwnRequests
from services.shared.domain.errors import PublicError, Unavailable
from services.shared.domain.events import FeedbackGiven, InferenceFinished, Outcome

_NO_ANSWER = PublicError(
    code="unsupported_value",
    message="The request has no answer, or none yet, so there is nothing to say of it.",
    param="id",
)


class FeedbackApi:
    """Takes what callers say of answers that their own tenant got."""

    def __init__(self, desk: Desk, own: OwnRequests) -> None:
        """Use a desk."""
        self._desk = desk
        self._own = own

    async def give(self, request: Request, send: Send) -> None:
        """Record an opinion; a second one of the same source takes the place of the first."""
        given = await self._given(request)
        if isinstance(given, PublicError):
            self._desk.metrics.feedback.labels("", given.code).inc()
            await send_error(send, given, request_id=request.id)
            return
        self._desk.metrics.feedback.labels(given.source, "recorded").inc()
        await send_whole(
            send,
            msgspec.json.encode(
                {
                    "id": given.feedback_id,
                    "object": "millrace.feedback",
                    "request_id": given.request_id,
                    "source": given.source,
                    "score": given.score,
                    "created_at": given.at,
                }
            ),
            headers=rendered_headers({"x-request-id": request.id}),
        )

    async def _given(self, request: Request) -> FeedbackGiven | PublicError:
        key = authenticate(request.all_of(b"authorization"), self._desk.keys)
        if isinstance(key, PublicError):
            return key
        opinion = opinion_from(await request.body())
        if isinstance(opinion, PublicError):
            return opinion
        found = await self._own.find(request.parameters[0], key.tenant)
        if isinstance(found, PublicError):
            return found
        if not isinstance(found, InferenceFinished) or found.outcome != Outcome.COMPLETED:
            return _NO_ANSWER
        return await self._recorded(opinion, found)

    async def _recorded(
        self, opinion: Opinion, finished: InferenceFinished
    ) -> FeedbackGiven | PublicError:
        given = FeedbackGiven(
            feedback_id=f"{finished.request_id}-{opinion.source}",
            request_id=finished.request_id,
            tenant=finished.tenant,
            source=opinion.source,
            score=opinion.score,
            at=int(self._desk.clock.now_ms()),
        )
        try:
            await self._desk.feedback.publish(given)
        except Unavailable:
            return AWAY
        return given
