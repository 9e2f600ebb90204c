"""Rules for the topic files, and for what services and topics say of each other. Pure: no I/O."""

import re
from collections.abc import Collection, Iterable, Mapping

import msgspec
import yaml

from services.shared.codec.topics import TopicSpec
from services.shared.domain.topics import dead_letters

EXTERNAL = "external"
_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_SIZE = re.compile(r'^ +(?:retention\.ms|max\.message\.bytes|segment\.ms): "[0-9]+"(.*)$', re.M)
_POLICIES = {"delete", "compact", "compact,delete"}


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """What a topic file may name.

    Attributes:
        services: Folders of services.
        records: Snake-case names of records.
        without_dlq: Topics whose records are never given up: nobody of ours processes them.
    """

    services: Collection[str]
    records: Collection[str]
    without_dlq: Collection[str]


def problems(name: str, text: str, known: Known) -> list[str]:
    """List what is wrong with one topic file.

    Args:
        name: Its name without ``.yaml``: the topic's.
        text: Its text.
        known: What it may name.
    """
    try:
        spec = msgspec.convert(yaml.safe_load(text), TopicSpec)
    except (msgspec.ValidationError, yaml.YAMLError) as error:
        return [f"{name}: {error}"]
    found = [f"{name}: {problem}" for problem in (*_of_names(name, spec, known), *_of_config(spec))]
    found += [
        f"{name}: a number without its unit in a comment"
        for comment in _SIZE.findall(text)
        if not comment.strip().startswith("#")
    ]
    return found


def _of_names(name: str, spec: TopicSpec, known: Known) -> Iterable[str]:
    if not _NAME.fullmatch(name):
        yield "the name is not kebab-case"
    if not spec.description.strip() or not spec.key.strip():
        yield "description or key is empty"
    if spec.record not in known.records:
        yield f"there is no record {spec.record}"
    strangers = {*spec.producers, *spec.consumers} - {EXTERNAL, *known.services}
    yield from (f"there is no service {service}" for service in sorted(strangers))
    if not spec.producers or not spec.consumers:
        yield "nobody writes or reads it"
    expected = "" if name in known.without_dlq else dead_letters(name)
    if spec.dlq != expected:
        yield f"its dead letters go to {spec.dlq!r}, not {expected!r}"
    if spec.partitions < 1:
        yield "it has no partition"


def _of_config(spec: TopicSpec) -> Iterable[str]:
    policy = spec.config.get("cleanup.policy", "")
    if policy not in _POLICIES:
        yield f"cleanup.policy is {policy!r}"
    if "delete" in policy and not spec.config.get("retention.ms", "").isdigit():
        yield "nothing says how long its records are kept"
    if not spec.config.get("max.message.bytes", "").isdigit():
        yield "nothing says how large its records may be"


def problems_together(
    specs: Mapping[str, TopicSpec],
    *,
    topics: Collection[str],
    same_partition: Collection[str],
    unsent: Collection[str],
    records: Collection[str],
) -> list[str]:
    """List what is wrong with the topic files together.

    Args:
        specs: All of them.
        topics: The topics that the code names.
        same_partition: Topics on which a request keeps its partition.
        unsent: Records that stand on no topic.
        records: All records.
    """
    found = [f"{name}: there is a file, but no such topic" for name in specs if name not in topics]
    found += [f"{name}: there is no file" for name in topics if name not in specs]
    counts = {specs[name].partitions for name in same_partition if name in specs}
    if len(counts) > 1:
        found.append(f"a request keeps its partition on topics of {sorted(counts)} partitions")
    sent = {spec.record for spec in specs.values()} | set(unsent)
    found += [f"{record}: it stands on no topic" for record in records if record not in sent]
    return found


def contradictions(
    specs: Mapping[str, TopicSpec],
    *,
    consumed: Mapping[str, Collection[str]],
    emitted: Mapping[str, Collection[str]],
) -> list[str]:
    """List where topic files and services contradict each other.

    Args:
        specs: All topic files.
        consumed: For each service that says so, the topics that it reads.
        emitted: For each service that says so, the topics that it writes.
    """
    return [
        *_differences("reads", consumed, {name: spec.consumers for name, spec in specs.items()}),
        *_differences("writes", emitted, {name: spec.producers for name, spec in specs.items()}),
    ]


def _differences(
    verb: str, said: Mapping[str, Collection[str]], files: Mapping[str, Collection[str]]
) -> Iterable[str]:
    for service, topics in said.items():
        listed = {name for name, services in files.items() if service in services}
        for name in sorted(set(topics) - listed):
            yield f"{service} {verb} {name}, which its file does not say"
        for name in sorted(listed - set(topics)):
            yield f"{name} says that {service} {verb} it, which it does not"
