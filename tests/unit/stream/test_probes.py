"""The probes of a service."""

import json
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from prometheus_client import CollectorRegistry

from services.shared.telemetry.probes import serve_probes


def test_health_names_each_part_and_follows_readiness_alone() -> None:
    """What a part says is for people: a look-up that still reads its entries is ready."""
    is_ready = [True]
    port = serve_probes(
        host="127.0.0.1",
        port=0,
        registry=CollectorRegistry(),
        is_live=lambda: True,
        is_ready=lambda: is_ready[0],
        parts={"cache-entries": lambda: "reading: 45 %"},
    )
    with urlopen(f"http://127.0.0.1:{port}/health") as answer:
        assert json.load(answer) == {
            "status": "ok",
            "components": {"stage": "ok", "cache-entries": "reading: 45 %"},
        }
    is_ready[0] = False
    with pytest.raises(HTTPError) as refused:
        urlopen(f"http://127.0.0.1:{port}/health")
    with refused.value as answer:
        assert answer.code == 503
        assert json.load(answer)["components"]["stage"] == "not ready"
