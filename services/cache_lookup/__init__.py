"""Cache lookup: admits what came by Kafka alone, answers what was answered before, joins alike.

Consumes: ``inference-requests-p0``, ``-p1``, ``-p2``; reads ``inference-results``, and
``cache-misses`` once; follows ``cache-judgements`` and ``control``.
Decides: whether a request may be looked up and whether an entry may be served (``decide.py``);
which request leads and which one joins it (``flights.py``), and what follows from a leader's end
(``consequences.py``); in the verified mode which scores are sure enough (``verified``).
Emits: chunks, a row of ``usage-ledger`` and the terminal record of a hit or a join,
``cache-misses`` otherwise, the terminal record of a record that is no valid request; ``hold`` and
``release`` of calls that requests wait for to ``control``.
Keeps: the requests that are on their way, found again in the topics; those that wait for them, as
open records.
When it fails: Redis gone or slow is a miss within 50 ms; the process gone is redelivery.
"""
