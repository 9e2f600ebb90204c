"""Settings of the cache lookup."""

from services.shared.domain.settings import ServiceSettings


class CacheLookupSettings(ServiceSettings, frozen=True, kw_only=True):
    """Nothing beyond what every service has; times to live stand in ``millrace.yaml``."""
