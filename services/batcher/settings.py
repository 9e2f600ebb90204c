"""Settings of the batcher."""

from services.shared.domain.settings import ServiceSettings


class BatcherSettings(ServiceSettings, frozen=True, kw_only=True):
    """Nothing beyond what every service has; windows stand in ``millrace.yaml``."""
