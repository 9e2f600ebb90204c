"""The topics of the local stack, and the partition count that they were made with."""

import hashlib

from services.cli.errors import CommandError
from services.cli.local_stack.state import Layout, TopicsMade, read_topics_made, write_json
from services.shared.codec.topics import TOPICS_FOLDER, packaged_topics
from services.shared.stream.admin import apply_topics

DEFAULT_PARTITIONS = 1
MAX_PARTITIONS = 64


def agreed_partitions(layout: Layout, *, asked: int | None) -> int:
    """The partition count to start with: the one asked for, the one there is, or the default.

    Raises:
        CommandError: The data directory's topics have another count than the one asked for.
    """
    made = read_topics_made(layout)
    if asked is not None and not 1 <= asked <= MAX_PARTITIONS:
        raise CommandError(f"--partitions {asked}: choose 1 to {MAX_PARTITIONS}.")
    if made is None:
        return asked or DEFAULT_PARTITIONS
    if asked is not None and asked != made.partitions:
        raise CommandError(
            f"The topics in {layout.root} have {made.partitions} partitions each, not {asked}, and "
            "requests in flight depend on the count. Leave --partitions out, or start on another "
            "directory (--data), or remove this one with all its records."
        )
    return made.partitions


def topics_digest() -> str:
    """Of all declarations; another digest means that topics have to be applied first."""
    digest = hashlib.sha256()
    for path in sorted(TOPICS_FOLDER.glob("*.yaml")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def make_topics(layout: Layout, bootstrap: str, *, partitions: int, digest: str) -> None:
    """Bring the broker's topics to what is declared, and remember it.

    Raises:
        InvalidConfiguration: A topic has another partition count. Not retriable.
        Unavailable: The broker does not answer. Retriable.
    """
    apply_topics(bootstrap, packaged_topics(), partitions=partitions)
    write_json(layout.topics, TopicsMade(partitions=partitions, digest=digest))
