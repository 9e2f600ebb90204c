"""Model caller: asks the provider and brings the answer back.

Consumes: ``request-batches-p0``, ``-p1``, ``-p2``; requests that were put off from
``model-caller-retry-5s``, ``-30s``, ``-5m``; reads ``model-call-attempts`` back, and follows
``control`` and, for circuits that others saw, ``provider-health``.
Decides: whether and when a call may start (``gates.py``) and what becomes of it if not
(``put_off.py``); whether a failed call is repeated, goes to the next target or ends the request
(``decide.py``); whether an answer is good enough (``cascade/``) and what is asked of it and of the
prompt (``levers/``; both by ``review.py``); what of a provider's bytes is an answer
(``answers.py``, ``sse.py``); what to do with a request that calls were made for before
(``redelivery.py``); which inputs of embeddings need no call (``embedded_inputs.py``), and which
calls are made as one (``sharing.py``, ``pace.py``).
Emits: chunks to ``result-chunks`` for waiting clients, the terminal record to
``inference-results``, what it says of each call to ``model-call-attempts`` and ``usage-ledger``,
requests that are put off to the retry topics, escalations to ``feedback``,
circuits to ``provider-health``.
Keeps: connections to providers, rates, limits and circuits, and where the last attempt of each
request stands; vectors of inputs in Redis; nothing that a restart may not lose.
When it fails: a batch without its members' terminal records is delivered again; what the attempt
log says of each member decides.
"""
