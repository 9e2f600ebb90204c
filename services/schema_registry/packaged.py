"""The schemas that come with the project, and the subjects they belong to."""

from collections.abc import Mapping

from services.schema_registry.decide import Packaged
from services.schema_registry.parsed_schema import schema_from_registered
from services.shared.codec.schemas import SchemaStore


def packaged_schemas(store: SchemaStore) -> list[Packaged]:
    """List the schemas that come with the project, in the order of their versions."""
    return [
        Packaged(
            record=ours.record,
            schema_id=ours.schema_id,
            schema=schema_from_registered(ours.text),
        )
        for record in store.records()
        for ours in store.versions(record)
    ]


def packaged_subjects(store: SchemaStore, topics: Mapping[str, str]) -> dict[str, str]:
    """Map the subjects of the packaged schemas to their records.

    The subject of a topic's values is ``<topic>-value``; a record without a topic stands under
    its full name. (Confluent's TopicNameStrategy and RecordNameStrategy.)

    Args:
        store: The packaged schemas.
        topics: Topic -> the record that its values are.
    """
    known = set(store.records())
    subjects = {f"{topic}-value": record for topic, record in topics.items() if record in known}
    for record in known.difference(subjects.values()):
        subjects[store.newest(record).schema.root_record().name] = record
    return subjects
