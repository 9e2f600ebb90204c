"""Settings of the cache writer."""

from services.shared.domain.settings import ServiceSettings


class CacheWriterSettings(ServiceSettings, frozen=True, kw_only=True):
    """Nothing beyond what every service has; times to live stand in ``millrace.yaml``."""
