"""Model caller: asks the provider and brings the answer back.

Consumes: ``request-batches-p0``, ``-p1``, ``-p2``.
Decides: whether a failed call is repeated, goes to the next target or ends the request
(``decide.py``); what of a provider's bytes is an answer (``answers.py``, ``sse.py``).
Emits: chunks to ``result-chunks`` for waiting clients, the terminal record to
``inference-results``.
Keeps: connections to providers; nothing that a restart may not lose.
When it fails: a batch without its members' terminal records is delivered again and called again.
"""
