"""Settings of the model caller."""

from services.shared.domain.settings import ServiceSettings


class ModelCallerSettings(ServiceSettings, frozen=True, kw_only=True):
    """Its own; providers stand in ``millrace.yaml``.

    Attributes:
        drain_s: Time that open calls get at shutdown, after the groups were left, seconds.
    """

    drain_s: float = 600.0
