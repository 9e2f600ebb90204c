"""Bytes on the wire: Avro in Confluent framing, record headers, packaged schemas and topics."""
