"""Model caller: asks the provider and brings the answer back.

Consumes: ``request-batches-p0``, ``-p1``, ``-p2``; reads ``model-call-attempts`` back, and
``control``.
Decides: whether a failed call is repeated, goes to the next target or ends the request
(``decide.py``); what of a provider's bytes is an answer (``answers.py``, ``sse.py``); what to do
with a request that calls were made for before (``redelivery.py``).
Emits: chunks to ``result-chunks`` for waiting clients, the terminal record to
``inference-results``, what it says of each call to ``model-call-attempts`` and ``usage-ledger``.
Keeps: connections to providers, and where the last attempt of each request stands.
When it fails: a batch without its members' terminal records is delivered again; what the attempt
log says of each member decides.
"""
