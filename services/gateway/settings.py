"""Settings of the gateway."""

from services.shared.domain.settings import ServiceSettings


class GatewaySettings(ServiceSettings, frozen=True, kw_only=True):
    """Where it listens.

    Attributes:
        gateway_host: Address to listen on.
        gateway_port: Port to listen on; 0 = any free one.
    """

    gateway_host: str = "127.0.0.1"
    gateway_port: int = 8080
