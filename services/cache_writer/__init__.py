"""Cache writer: keeps answers that may be served again.

Consumes: ``inference-results``.
Decides: which answers are kept, and for how long (``decide.py``); whether a fresh answer shows a
cached one to be right (``judging.py``).
Emits: ``cache-entries``, one for every answer that is kept; writes Redis before.
``cache-judgements`` in the verified mode.
Keeps: how many requests of a tenant found no candidate since his last judgement.
When it fails: an answer is not kept; the next request for it is a miss.
"""
