"""Settings of the local models."""

import msgspec


class LocalModelsSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where the service listens and what it takes; ``MILLRACE_`` + a field's name sets it.

    Attributes:
        local_models_host: Address to listen on.
        local_models_port: Port of everything that it serves.
        local_models_most_waiting: Texts that may wait for the model; more are refused.
        log_level: debug, info, warning or error.
    """

    local_models_host: str = "127.0.0.1"
    local_models_port: int = 8091
    local_models_most_waiting: int = 8_192
    log_level: str = "info"
