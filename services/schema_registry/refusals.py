"""Every "no" of the registry, with the error codes of Confluent's. Pure."""

import msgspec

MAX_VERSION = 2**31 - 1


class Refusal(msgspec.Struct, frozen=True):
    """An answer to a request that cannot be granted.

    Attributes:
        error_code: Confluent's code; its first three digits are the HTTP status.
        message: What is wrong, for people.
    """

    error_code: int
    message: str

    @property
    def status(self) -> int:
        """The HTTP status."""
        return int(str(self.error_code)[:3])


def subject_not_found(subject: str) -> Refusal:
    """No version of the subject is visible."""
    return Refusal(40401, f"Subject '{subject}' not found.")


def version_not_found(version: int) -> Refusal:
    """The subject lacks the version."""
    return Refusal(40402, f"Version {version} not found.")


def schema_not_found() -> Refusal:
    """The subject lacks the schema."""
    return Refusal(40403, "Schema not found")


def schema_id_not_found(schema_id: int) -> Refusal:
    """No schema has the id."""
    return Refusal(40403, f"Schema {schema_id} not found")


def subject_already_deleted(subject: str) -> Refusal:
    """The subject is hidden already."""
    why = "was soft deleted. Set permanent=true to delete permanently"
    return Refusal(40404, f"Subject '{subject}' {why}")


def subject_not_deleted(subject: str) -> Refusal:
    """What is erased must be hidden first."""
    return Refusal(
        40405, f"Subject '{subject}' was not deleted first before being permanently deleted"
    )


def version_already_deleted(subject: str, version: int) -> Refusal:
    """The version is hidden already."""
    why = "was soft deleted. Set permanent=true to delete permanently"
    return Refusal(40406, f"Subject '{subject}' Version {version} {why}")


def version_not_deleted(subject: str, version: int) -> Refusal:
    """What is erased must be hidden first."""
    why = "was not deleted first before being permanently deleted"
    return Refusal(40407, f"Subject '{subject}' Version {version} {why}")


def no_level(subject: str) -> Refusal:
    """The subject has no level of its own."""
    return Refusal(
        40408, f"Subject '{subject}' does not have subject-level compatibility configured"
    )


def no_mode(subject: str) -> Refusal:
    """The subject has no mode of its own."""
    return Refusal(40409, f"Subject '{subject}' does not have subject-level mode configured")


def incompatible(subject: str, problems: list[str]) -> Refusal:
    """The schema breaks the subject's promise."""
    details = "; ".join(problems)
    return Refusal(
        409,
        "Schema being registered is incompatible with an earlier schema for subject "
        f'"{subject}", details: [{details}]',
    )


def invalid_schema(why: str) -> Refusal:
    """The text is no Avro schema, or one that we do not take."""
    return Refusal(42201, f"Invalid schema: {why}")


def invalid_version(version: str) -> Refusal:
    """The version in the path is neither a number nor "latest"."""
    allowed = f'between [1, {MAX_VERSION}] and the string "latest"'
    return Refusal(
        42202,
        f"The specified version '{version[:64]}' is not a valid version id. "
        f"Allowed values are {allowed}",
    )


def invalid_level(levels: list[str]) -> Refusal:
    """The level is none of Confluent's."""
    return Refusal(42203, f"Invalid compatibility level. Valid values are {', '.join(levels)}")


def invalid_subject() -> Refusal:
    """The subject's name cannot be one."""
    return Refusal(42208, "The specified subject is not valid: 1 to 255 printable characters")


def unsupported(what: str) -> Refusal:
    """A part of Confluent's registry that this one does not have."""
    return Refusal(422, f"{what} are not supported by this registry")


def too_many(what: str, limit: int) -> Refusal:
    """The registry is full."""
    return Refusal(422, f"There are {limit} {what} already, the most that are kept")


def invalid_request(why: str) -> Refusal:
    """The request is not of the protocol."""
    return Refusal(400, why)


def store_unavailable(why: str) -> Refusal:
    """The log cannot be reached; the same request may succeed later."""
    return Refusal(50301, f"Error in the backend data store: {why}")
