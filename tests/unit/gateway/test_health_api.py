"""``/livez``, ``/readyz``, ``/health`` and ``/metrics``."""

from prometheus_client import CollectorRegistry, Counter

from services.gateway.asgi import Handler
from services.gateway.health_api import HealthApi
from tests.support.gateway_desk import Sent, http_request


class Kafka:
    """A component whose health a test decides."""

    why = ""


async def sent_by(handler: Handler) -> Sent:
    """What a handler answers."""
    sent = Sent()
    await handler(http_request(method="GET"), sent)
    return sent


def api_of(kafka: Kafka) -> HealthApi:
    """An API that watches one component."""
    registry = CollectorRegistry()
    Counter("answers", "Answers.", registry=registry).inc(3)
    return HealthApi(registry=registry, checks={"kafka": lambda: kafka.why})


async def test_all_is_well() -> None:
    """Every probe says so."""
    api = api_of(Kafka())
    assert (await sent_by(api.readyz)).status == 200
    health = await sent_by(api.health)
    assert (health.status, health.document) == (
        200,
        {"status": "ok", "components": {"kafka": "ok", "server": "ok"}},
    )


async def test_a_needed_component_is_away() -> None:
    """Not ready, and said why; alive all the same; ready again when it is back."""
    kafka = Kafka()
    api = api_of(kafka)
    kafka.why = "it does not answer"
    assert not api.is_ready
    ready = await sent_by(api.readyz)
    assert (ready.status, ready.body) == (503, b"kafka: it does not answer\n")
    health = await sent_by(api.health)
    assert (health.status, health.document["components"]["kafka"]) == (503, "it does not answer")
    assert (await sent_by(api.livez)).status == 200
    kafka.why = ""
    assert (await sent_by(api.readyz)).status == 200


async def test_shutdown_makes_it_unready_at_once() -> None:
    """A load balancer sends nothing more; it still lives."""
    api = api_of(Kafka())
    api.leave()
    assert not api.is_ready
    assert (await sent_by(api.readyz)).body == b"server: shutting down\n"
    assert (await sent_by(api.livez)).status == 200


async def test_metrics_are_prometheus_text() -> None:
    """Every metric of the registry is there."""
    sent = await sent_by(api_of(Kafka()).metrics)
    assert sent.headers["content-type"] == "text/plain; version=0.0.4"
    assert b"answers_total 3.0" in sent.body
