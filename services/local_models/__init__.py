"""Local models: what this machine can run itself, served by OpenAI's protocol.

Serves: ``/v1/embeddings`` and ``/v1/models`` with one model, ``minilm``, the cache's own encoder;
``/livez``, ``/readyz`` and ``/metrics`` on the same port.
Decides: whether a request can be answered; what waits runs in batches, a bit of each caller's in
turn.
Keeps: the model, from the first request on (0.2 s to load), and recent texts' vectors.
When it fails: callers get OpenAI's error object; overloaded it refuses with 503 and Retry-After.
"""
