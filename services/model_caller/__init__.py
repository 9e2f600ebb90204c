"""Model caller: asks the provider and brings the answer back.

Consumes: ``request-batches-p0``, ``-p1``, ``-p2``; requests that were put off from
``model-caller-retry-5s``, ``-30s``, ``-5m``; circuits that others saw from ``provider-health``.
Decides: whether and when a call may start (``gates.py``) and what becomes of it if not
(``put_off.py``); whether a failed call is repeated, goes to the next target or ends the request
(``decide.py``); what of a provider's bytes is an answer (``answers.py``, ``sse.py``).
Emits: chunks to ``result-chunks`` for waiting clients, the terminal record to
``inference-results``, requests that are put off to the retry topics, circuits to
``provider-health``.
Keeps: connections to providers, rates, limits and circuits; nothing that a restart may not lose.
When it fails: a batch without its members' terminal records is delivered again and called again.
"""
