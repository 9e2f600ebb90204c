"""The topics as data: reads ``topics/<name>.yaml``."""

from functools import cache
from pathlib import Path

import msgspec
import yaml

from services.shared.domain.errors import InvalidConfiguration

TOPICS_FOLDER = Path(__file__).resolve().parents[3] / "topics"


class TopicSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What ``topics/<name>.yaml`` says.

    Attributes:
        description: What the topic holds, for people.
        record: Snake-case name of its record.
        key: What the record key is, for people.
        producers: Folders of the services that write it; ``external`` = others may.
        consumers: Folders of the services that read it; ``external`` = others may.
        partitions: Partitions in production.
        config: Kafka's topic settings, as strings.
        dlq: Its dead-letter topic; empty = none.
    """

    description: str
    record: str
    key: str
    producers: list[str]
    consumers: list[str]
    partitions: int
    config: dict[str, str]
    dlq: str = ""

    @property
    def is_public(self) -> bool:
        """Whether others than our own services may write it."""
        return "external" in self.producers


def read_topic(path: Path) -> TopicSpec:
    """Read one topic file.

    Raises:
        InvalidConfiguration: It is no valid topic file; names the file and the field.
    """
    try:
        return msgspec.convert(yaml.safe_load(path.read_text()), TopicSpec)
    except (msgspec.ValidationError, yaml.YAMLError) as error:
        raise InvalidConfiguration(f"{path.name}: {error}") from error


@cache
def packaged_topics() -> dict[str, TopicSpec]:
    """All topics by name."""
    return {path.stem: read_topic(path) for path in sorted(TOPICS_FOLDER.glob("*.yaml"))}


DEAD_LETTER_RETENTION_MS = "1209600000"  # 14 days


def dead_letter_config(spec: TopicSpec) -> dict[str, str]:
    """Kafka's settings of a topic's dead-letter topic: it takes whatever the topic takes."""
    return {
        "cleanup.policy": "delete",
        "retention.ms": DEAD_LETTER_RETENTION_MS,
        "max.message.bytes": spec.config["max.message.bytes"],
    }
