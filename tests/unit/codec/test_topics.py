"""The topics as data: the rules for their files, and that each rule sees its violation."""

import importlib
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import msgspec
import pytest

from services.shared.codec.records import RECORDS
from services.shared.codec.schemas import SchemaStore
from services.shared.codec.topics import (
    DEAD_LETTER_RETENTION_MS,
    TOPICS_FOLDER,
    TopicSpec,
    dead_letter_config,
    packaged_topics,
    read_topic,
)
from services.shared.domain.errors import InvalidConfiguration
from services.shared.domain.events import (
    CacheMissed,
    InferenceRequested,
    RequestBatch,
    RequestRouted,
)
from services.shared.domain.topics import BATCH_TOPICS, REQUEST_TOPICS, Topic, dead_letters
from services.shared.stream.outbox import SAME_PARTITION
from tests.support.project import services
from tests.support.topic_lint import EXTERNAL, Known, contradictions, problems, problems_together

SPECS = packaged_topics()
KNOWN = Known(
    services=services(),
    records=RECORDS,
    without_dlq={
        Topic.RESULT_CHUNKS,
        Topic.USAGE_WINDOWS,
        Topic.CRASH_SUSPECTS,
        Topic.MODEL_CALL_ATTEMPTS,
        Topic.USAGE_LEDGER,
        Topic.PROVIDER_HEALTH,
        Topic.IDEMPOTENCY_KEYS,
        Topic.CONTROL,
        Topic.CACHE_ENTRIES,
        Topic.CACHE_JUDGEMENTS,
        Topic.FEEDBACK,
    },
)
UNSENT = {"cache_entry"}
"""Records that are kept elsewhere than on a topic."""

ON_OUR_RUNTIME = (
    "cache_lookup",
    "router",
    "batcher",
    "model_caller",
    "cache_writer",
    "trace_exporter",
)
PROCESSORS: Mapping[str, ModuleType] = {
    service: importlib.import_module(f"services.{service}.processor")
    for service in (*ON_OUR_RUNTIME, "metrics_aggregator")
}
CARRY_REQUESTS = {InferenceRequested, CacheMissed, RequestRouted, RequestBatch}
ENDS = {Topic.RESULT_CHUNKS, Topic.INFERENCE_RESULTS}


def consumed(service: str) -> set[str]:
    """The topics that a service reads: its processor's, and what its runtime does by itself."""
    own = {*PROCESSORS[service].CONSUMES, *getattr(PROCESSORS[service], "READS", ())}
    return own | ({Topic.CRASH_SUSPECTS} if service in ON_OUR_RUNTIME else set())


def emitted(service: str) -> set[str]:
    """The topics that a service writes: its processor's, and what its runtime does by itself.

    The runtime ends requests that expire or are given up, and accuses killers.
    """
    topics = {*PROCESSORS[service].EMITS}
    if service in ON_OUR_RUNTIME:
        topics.add(Topic.CRASH_SUSPECTS)
        records = {RECORDS[SPECS[topic].record] for topic in PROCESSORS[service].CONSUMES}
        if records & CARRY_REQUESTS:
            topics |= ENDS
    return topics


@pytest.mark.parametrize("path", sorted(TOPICS_FOLDER.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_topic_file_keeps_the_rules(path: Path) -> None:
    """Every file of ``topics/`` passes the lint."""
    assert problems(path.stem, path.read_text(), KNOWN) == []


def test_topic_files_agree_with_the_code() -> None:
    """Each topic has a file, each file a topic, each record a topic; partitions are equal."""
    found = problems_together(
        SPECS,
        topics=[topic.value for topic in Topic],
        same_partition=[topic.value for topic in SAME_PARTITION],
        unsent=UNSENT,
        records=RECORDS,
    )
    assert found == []


def test_services_do_what_the_topic_files_say() -> None:
    """Who writes and who reads is the same in ``topics/`` and in the processors."""
    found = contradictions(
        SPECS,
        consumed={service: consumed(service) for service in PROCESSORS},
        emitted={service: emitted(service) for service in PROCESSORS},
    )
    assert found == []


def test_every_record_has_a_schema_with_its_fields() -> None:
    """Structs and newest schemas have the same fields in the same order, and no schema is alone."""
    store = SchemaStore.packaged()
    assert sorted(RECORDS) == sorted(store.records())
    for record, event_type in RECORDS.items():
        root = store.newest(record).schema.root_record()
        assert {field.name for field in root.fields} == set(event_type.__struct_fields__), record


def test_lanes_are_alike() -> None:
    """Topics of one kind differ in their priority alone."""
    for lanes in (REQUEST_TOPICS, BATCH_TOPICS):
        shapes = {
            (spec.record, tuple(spec.producers), tuple(spec.consumers), spec.partitions)
            for spec in (SPECS[topic] for topic in lanes)
        }
        assert len(shapes) == 1
        assert len({tuple(sorted(SPECS[topic].config.items())) for topic in lanes}) == 1


def test_dead_letters_take_whatever_their_topic_takes() -> None:
    """No record is too large for its own dead-letter topic; they are kept for two weeks."""
    for name, spec in SPECS.items():
        config = dead_letter_config(spec)
        assert config["max.message.bytes"] == spec.config["max.message.bytes"]
        assert config["retention.ms"] == DEAD_LETTER_RETENTION_MS == str(14 * 86_400_000)
        assert spec.dlq in ("", dead_letters(name))


# -- the tests above, tested -----------------------------------------------------------------------

GOOD = """
description: Things that happened.
record: cache_missed
key: request id
producers: [cache_lookup]
consumers: [router, external]
partitions: 12
config:
  cleanup.policy: delete
  retention.ms: "172800000"  # 48 h
  max.message.bytes: "8388608"  # 8 MiB
dlq: good-things-dlq
"""


def test_a_good_file_has_no_problems() -> None:
    """So that each bad one fails for its own reason."""
    assert problems("good-things", GOOD, KNOWN) == []


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        pytest.param("Things that happened.", "' '", "description", id="no_description"),
        pytest.param("key: request id", "key: ''", "key", id="no_key"),
        pytest.param("cache_missed", "cache_hit", "no record cache_hit", id="unknown_record"),
        pytest.param("[cache_lookup]", "[cashier]", "no service cashier", id="unknown_producer"),
        pytest.param("[router,", "[rooter,", "no service rooter", id="unknown_consumer"),
        pytest.param("[cache_lookup]", "[]", "nobody", id="no_producer"),
        pytest.param("partitions: 12", "partitions: 0", "no partition", id="no_partition"),
        pytest.param("dlq: good-things-dlq", "", "dead letters", id="no_dlq"),
        pytest.param("good-things-dlq", "other-dlq", "dead letters", id="another_s_dlq"),
        pytest.param("policy: delete", "policy: forget", "cleanup.policy", id="policy"),
        pytest.param('retention.ms: "172800000"  # 48 h', "", "how long", id="no_retention"),
        pytest.param('max.message.bytes: "8388608"  # 8 MiB', "", "how large", id="no_size"),
        pytest.param("  # 48 h", "", "without its unit", id="no_unit"),
        pytest.param("dlq:", "dead_letters:", "dead_letters", id="unknown_field"),
        pytest.param("partitions: 12", "partitions: many", "partitions", id="wrong_type"),
        pytest.param("key: request id", "key: [", "good-things", id="no_yaml"),
    ],
)
def test_the_lint_sees_a_violation(old: str, new: str, expected: str) -> None:
    """Each rule fails on a file that breaks it."""
    assert old in GOOD
    assert any(expected in it for it in problems("good-things", GOOD.replace(old, new), KNOWN))


@pytest.mark.parametrize("name", ["Good-things", "good_things", "good--things", "-good"])
def test_the_lint_sees_a_bad_name(name: str) -> None:
    """Kebab-case."""
    text = GOOD.replace("good-things-dlq", dead_letters(name))
    assert problems(name, text, KNOWN) == [f"{name}: the name is not kebab-case"]


def together(specs: Mapping[str, TopicSpec]) -> list[str]:
    """The problems of some files as if the code named the packaged topics."""
    return problems_together(
        specs,
        topics=[topic.value for topic in Topic],
        same_partition=[topic.value for topic in SAME_PARTITION],
        unsent=UNSENT,
        records=RECORDS,
    )


def test_a_missing_and_a_surplus_file_are_seen() -> None:
    """By name."""
    without = {name: spec for name, spec in SPECS.items() if name != "cache-misses"}
    assert together(without) == [
        "cache-misses: there is no file",
        "cache_missed: it stands on no topic",
    ]
    surplus = {**SPECS, "more": SPECS["cache-misses"]}
    assert together(surplus) == ["more: there is a file, but no such topic"]


def test_an_unequal_partition_count_is_seen() -> None:
    """A request would meet its own past on another partition."""
    other = msgspec.structs.replace(SPECS["routed-requests"], partitions=13)
    (problem,) = together({**SPECS, "routed-requests": other})
    assert "[12, 13]" in problem


def test_contradictions_are_seen_in_both_directions() -> None:
    """A service that does more than the files say, and one that does less."""
    found = contradictions(
        SPECS,
        consumed={"router": {"cache-misses", "crash-suspects", "usage-windows"}},
        emitted={"metrics_aggregator": set()},
    )
    assert found == [
        "router reads usage-windows, which its file does not say",
        "inference-results says that router reads it, which it does not",
        "provider-health says that router reads it, which it does not",
        "usage-windows says that metrics_aggregator writes it, which it does not",
    ]


def test_a_file_that_is_none_is_refused_by_name(tmp_path: Path) -> None:
    """The services themselves read the files; the error says which one and where."""
    path = tmp_path / "broken.yaml"
    path.write_text(GOOD.replace("partitions: 12", "partitions: many"))
    with pytest.raises(InvalidConfiguration, match=r"broken\.yaml: .*partitions"):
        read_topic(path)
    path.write_text(GOOD)
    assert not read_topic(path).is_public
    path.write_text(GOOD.replace("[cache_lookup]", f"[{EXTERNAL}]"))
    assert read_topic(path).is_public
