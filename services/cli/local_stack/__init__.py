"""The whole of Millrace on one machine: Kafka, Redis and every service under one supervisor.

Needs: Python, and nothing else that is installed; Kafka comes from Maven Central once, Java and
Redis from the system or from wheels.
Keeps: one data directory (``state``); a cache of jars outside it (``kafka_jars``).
When it fails: a dead process is started again; a dead supervisor takes its processes with it, and
the next start on the same directory goes on where the last one stopped.
"""
