"""Settings of the cache lookup."""

from services.shared.domain.settings import ServiceSettings


class CacheLookupSettings(ServiceSettings, frozen=True, kw_only=True):
    """Where the semantic tier's parts are; what it does stands in ``millrace.yaml``.

    Attributes:
        qdrant_url: Qdrant server that holds the vectors; empty = the memory of each process.
        qdrant_api_key: Its key; empty = none.
    """

    qdrant_url: str = ""
    qdrant_api_key: str = ""
