"""Settings of the model caller."""

from services.shared.domain.settings import ServiceSettings


class ModelCallerSettings(ServiceSettings, frozen=True, kw_only=True):
    """Nothing beyond what every service has; providers stand in ``millrace.yaml``."""
