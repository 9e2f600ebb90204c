"""What is served at which path; ``openapi.py`` describes the same paths."""

from collections.abc import Mapping

from services.gateway.app import Routes
from services.gateway.asgi import Handler
from services.gateway.desk import MS_PER_S, Desk
from services.gateway.events_api import EventsApi
from services.gateway.feedback_api import FeedbackApi
from services.gateway.health_api import HealthApi
from services.gateway.inference import inference
from services.gateway.models_api import ModelsApi
from services.gateway.openapi import openapi_handler
from services.gateway.own_requests import OwnRequests
from services.gateway.requests_api import RequestsApi
from services.shared.domain.configuration import Model
from services.shared.domain.events import Operation
from services.shared.ports.record_finder import RecordFinder


def routes(
    desk: Desk, *, models: Mapping[str, Model], finder: RecordFinder, health: HealthApi
) -> Routes:
    """The route table of a gateway.

    Args:
        desk: What answering takes.
        models: Models by alias.
        finder: What the topics know of past requests.
        health: The process' own health.
    """
    created_s = int(desk.clock.now_ms() / MS_PER_S)
    models_api = ModelsApi(models=models, keys=desk.keys, created_s=created_s)
    own = OwnRequests(finder)
    requests_api = RequestsApi(desk, own)
    events_api = EventsApi(desk, own)

    def ask(operation: Operation) -> dict[str, Handler]:
        return {"POST": inference(operation, desk)}

    return Routes(
        exact={
            "/v1/chat/completions": ask(Operation.CHAT),
            "/v1/completions": ask(Operation.TEXT_COMPLETION),
            "/v1/embeddings": ask(Operation.EMBEDDINGS),
            "/v1/models": {"GET": models_api.list},
            "/openapi.json": {"GET": openapi_handler()},
            "/livez": {"GET": health.livez},
            "/readyz": {"GET": health.readyz},
            "/health": {"GET": health.health},
            "/metrics": {"GET": health.metrics},
        },
        templates={
            "/v1/models/{model}": {"GET": models_api.get},
            "/v1/requests/{id}/events": {"GET": events_api.get},
            "/v1/requests/{id}/feedback": {"POST": FeedbackApi(desk, own).give},
            "/v1/requests/{id}/cancel": {"POST": requests_api.cancel},
            "/v1/requests/{id}": {"GET": requests_api.get},
        },
    )
