"""Cache writer: keeps answers that may be served again.

Consumes: ``inference-results``.
Decides: which answers are kept, and for how long (``decide.py``).
Emits: ``cache-entries``, one for every answer that is kept; writes Redis before.
Keeps: nothing.
When it fails: an answer is not kept; the next request for it is a miss.
"""
