"""Cache lookup: admits what came by Kafka alone, and answers what was answered before.

Consumes: ``inference-requests-p0``, ``-p1``, ``-p2``.
Decides: whether a request may be looked up and whether an entry may be served (``decide.py``).
Emits: chunks and the terminal record of a hit, ``cache-misses`` otherwise, the terminal record of
a record that is no valid request.
Keeps: nothing.
When it fails: Redis gone or slow is a miss within 50 ms; the process gone is redelivery.
"""
