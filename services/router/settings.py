"""Settings of the router, from ``MILLRACE_<FIELD>``."""

from services.shared.domain.settings import ServiceSettings


class RouterSettings(ServiceSettings, frozen=True, kw_only=True):
    """The settings of every service; all that decides a route stands in the configuration."""
