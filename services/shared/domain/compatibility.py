"""What a new version of a schema owes to the earlier ones."""

from enum import StrEnum


class Compatibility(StrEnum):
    """The promise of a record's versions; the names are those of Confluent's registry."""

    NONE = "NONE"
    BACKWARD = "BACKWARD"  # the new version reads records of the last one
    BACKWARD_TRANSITIVE = "BACKWARD_TRANSITIVE"  # ... of all earlier ones
    FORWARD = "FORWARD"  # the last version reads records of the new one
    FORWARD_TRANSITIVE = "FORWARD_TRANSITIVE"
    FULL = "FULL"  # both
    FULL_TRANSITIVE = "FULL_TRANSITIVE"
