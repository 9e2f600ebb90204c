"""Settings that every service has; each one adds its own in its ``settings.py``.

A field ``kafka_bootstrap`` is read from the environment variable ``MILLRACE_KAFKA_BOOTSTRAP``.
"""

import msgspec


class ServiceSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where a service finds the others, and its own place among them.

    Attributes:
        kafka_bootstrap: ``host:port`` pairs of brokers, separated by commas.
        kafka_security_protocol: PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL.
        kafka_sasl_mechanism: PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512.
        kafka_sasl_username: User name for SASL.
        kafka_sasl_password: Password for SASL.
        kafka_ca_file: Certificate authorities to trust; empty = the system's.
        kafka_session_timeout_s: Silence after which a group gives a member's partitions away.
        redis_url: Redis or Valkey.
        config: Path of ``millrace.yaml``; empty = built-in defaults.
        data: Folder for locks and state; empty = none, and group membership is dynamic.
        slot: Ordinal of this instance among the instances of its service.
        metrics_host: Address of ``/metrics``, ``/livez`` and ``/readyz``.
        metrics_port: Their port; 0 = any free one, -1 = none.
        log_level: debug, info, warning or error.
        secret_file: File with the secret that signs requests between services.
    """

    kafka_bootstrap: str = "127.0.0.1:9092"
    kafka_security_protocol: str = "PLAINTEXT"
    kafka_sasl_mechanism: str = "SCRAM-SHA-512"
    kafka_sasl_username: str = ""
    kafka_sasl_password: str = ""
    kafka_ca_file: str = ""
    kafka_session_timeout_s: float = 10.0
    redis_url: str = "redis://127.0.0.1:6379/0"
    config: str = ""
    data: str = ""
    slot: int = 0
    metrics_host: str = "127.0.0.1"
    metrics_port: int = 0
    log_level: str = "info"
    secret_file: str = ""
