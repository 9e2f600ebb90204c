"""Ask a model by Kafka alone: publish InferenceRequested in Avro with plain confluent-kafka.

Run:  python examples/kafka_producer.py "Why do rivers meander?"      (prints the request id)
      KAFKA and REGISTRY name the broker and the schema registry, as 'millrace status' shows them.
"""

import json
import os
import sys
import uuid

from confluent_kafka import Producer
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

TOPIC = "inference-requests-p1"


def main() -> None:
    """Publish one request and wait until Kafka has it."""
    registry = SchemaRegistryClient({"url": os.environ.get("REGISTRY", "http://127.0.0.1:8081")})
    schema = registry.get_latest_version(f"{TOPIC}-value").schema
    serialize = AvroSerializer(
        registry, schema, conf={"auto.register.schemas": False, "use.latest.version": True}
    )
    body = {
        "model": os.environ.get("MODEL", "millrace-demo"),
        "messages": [{"role": "user", "content": " ".join(sys.argv[1:]) or "Why do rivers bend?"}],
    }
    request_id = f"example-{uuid.uuid4().hex}"
    record = {"request_id": request_id, "operation": "chat", "body": json.dumps(body).encode()}
    problems = []
    producer = Producer({"bootstrap.servers": os.environ.get("KAFKA", "127.0.0.1:9092")})
    producer.produce(
        TOPIC,
        key=request_id,
        value=serialize(record, SerializationContext(TOPIC, MessageField.VALUE)),
        on_delivery=lambda error, _: problems.append(error) if error else None,
    )
    if producer.flush(10) or problems:
        sys.exit(f"not published: {problems or 'no acknowledgement in 10 s'}")
    print(request_id)


if __name__ == "__main__":
    main()
