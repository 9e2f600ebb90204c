"""Subscribe to results by Kafka alone, in a consumer group of one's own, with confluent-kafka.

Run:  python examples/kafka_consumer.py [REQUEST_ID]      (with an id: wait for it, then stop)
      KAFKA and REGISTRY name the broker and the schema registry, as 'millrace status' shows them.
"""

import json
import os
import sys
from contextlib import closing

from confluent_kafka import Consumer
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import (
    MessageField,
    SerializationContext,
    SerializationError,
)

TOPIC = "inference-results"


def main() -> None:
    """Print each request's end once: of several terminal records the first in the log counts."""
    wanted = sys.argv[1] if len(sys.argv) > 1 else None
    registry = SchemaRegistryClient({"url": os.environ.get("REGISTRY", "http://127.0.0.1:8081")})
    deserialize = AvroDeserializer(registry)
    consumer = Consumer(
        {
            "bootstrap.servers": os.environ.get("KAFKA", "127.0.0.1:9092"),
            "group.id": os.environ.get("GROUP", "example-results"),
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
        }
    )
    consumer.subscribe([TOPIC])
    context = SerializationContext(TOPIC, MessageField.VALUE)
    seen: set[str] = set()
    with closing(consumer):
        while wanted is None or wanted not in seen:
            message = consumer.poll(1.0)
            if message is None or message.error() or message.value() is None:
                continue
            try:
                finished = deserialize(message.value(), context)
            except SerializationError:  # somebody else's rubbish
                continue
            request_id = finished["request_id"]
            if request_id in seen or wanted not in (None, request_id):
                continue
            seen.add(request_id)
            shown = {name: finished[name] for name in ("request_id", "outcome", "error")}
            shown["answer"] = json.loads(finished["response"] or b"null")
            print(json.dumps(shown), flush=True)


if __name__ == "__main__":
    main()
