"""The configuration of a stack under test: four tenants and a provider behind a proxy."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

from services.shared.domain.keys import SECRET_BYTES, key_hash, new_key

TIMEOUTS = {"connect_s": 2, "first_token_s": 8, "inter_token_s": 6, "total_s": 60}
REQUEST_TIMEOUT_S = 60


class Tenant(msgspec.Struct, frozen=True, kw_only=True):
    """A caller.

    Attributes:
        name: Of the tenant.
        key: Its virtual key.
        canary: A word of its own, in each of its prompts and so in each answer.
        when_client_leaves: Policy of its key.
        priority: Of its requests.
    """

    name: str
    key: str
    canary: str
    when_client_leaves: str = "finish"
    priority: int = 0

    @property
    def headers(self) -> dict[str, str]:
        """Its credentials."""
        return {"authorization": f"Bearer {self.key}"}


def new_tenants() -> tuple[Tenant, ...]:
    """Four tenants: two usual ones, one whose calls end with its clients, one less urgent."""
    policies = {"gamma": "cancel"}
    return tuple(
        Tenant(
            name=name,
            key=new_key(environment="test", key_id=name, random=os.urandom(SECRET_BYTES)),
            canary=f"{name}{os.urandom(6).hex()}",
            when_client_leaves=policies.get(name, "finish"),
            priority=int(name == "delta"),
        )
        for name in ("alpha", "beta", "gamma", "delta")
    )


def write_configuration(path: Path, tenants: Sequence[Tenant], *, provider_port: int) -> None:
    """Write ``millrace.yaml`` (JSON is YAML).

    Models under their own names are tried again when nobody knows how a call ended; those below
    ``once/`` are not.
    """
    target = {"provider": "simulator", "context_window_tokens": 128_000}
    document = {
        "providers": {
            "simulator": {
                "base_url": f"http://127.0.0.1:{provider_port}/v1",
                "timeouts": TIMEOUTS,
                "max_in_flight": 2048,
            }
        },
        "models": {
            "sim-*": {"targets": [target], "on_unknown": "retry"},
            "once/*": {"targets": [{**target, "model": "*"}], "on_unknown": "fail"},
        },
        "prices": {"simulator/*": {"input_usd_per_mtok": 1, "output_usd_per_mtok": 2}},
        "keys": [
            {
                "id": tenant.name,
                "tenant": tenant.name,
                "hash": key_hash(tenant.key),
                "priority": tenant.priority,
                "when_client_leaves": tenant.when_client_leaves,
            }
            for tenant in tenants
        ],
        "limits": {"request_timeout_s": REQUEST_TIMEOUT_S},
    }
    path.write_text(json.dumps(document, indent=1))
