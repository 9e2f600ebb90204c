"""What the front door refused is counted for Prometheus."""

from prometheus_client import CollectorRegistry, generate_latest

from services.gateway.front_door.door import FrontDoor
from services.gateway.refusal_metrics import RefusalMetrics
from services.shared.domain.errors import PublicError


def test_refusals_are_counted_by_code() -> None:
    """Nothing before the first one; then each code by itself."""
    door = FrontDoor(new_request_id=lambda: "req_1")
    registry = CollectorRegistry()
    registry.register(RefusalMetrics(door))
    assert b"code=" not in generate_latest(registry)
    for code in ("body_too_large", "invalid_http", "invalid_http"):
        door.refusal(PublicError(code=code, message="Why."))
    exposed = generate_latest(registry).decode()
    assert 'millrace_front_door_refusals_total{code="body_too_large"} 1.0' in exposed
    assert 'millrace_front_door_refusals_total{code="invalid_http"} 2.0' in exposed
