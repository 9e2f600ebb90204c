"""Settings of the schema registry, from ``MILLRACE_<FIELD>``."""

from services.shared.domain.settings import ServiceSettings


class SchemaRegistrySettings(ServiceSettings, frozen=True, kw_only=True):
    """The settings of every service, and the registry's own.

    Attributes:
        registry_host: Address it serves on.
        registry_port: Port it serves on.
        registry_topic: Topic it keeps its state in; the name is that of Confluent's registry.
    """

    registry_host: str = "127.0.0.1"
    registry_port: int = 8081
    registry_topic: str = "_schemas"
