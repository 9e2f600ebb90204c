"""The Kafka runtime; the only home of aiokafka, confluent_kafka and faust."""
