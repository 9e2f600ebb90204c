"""Router: chooses where a request goes.

Consumes:
    ``cache-misses`` (``CacheMissed``).
Decides:
    Which targets serve a request, in which order: gates (caller, alias, operation, price, tier,
    tools, images, output and context window), then the alias's strategy (fixed, weighted, by tier).
Emits:
    ``routed-requests`` (``RequestRouted``); for a refusal ``inference-results`` and, when a client
    waits, ``result-chunks``.
Keeps:
    Nothing: the configuration and the price catalog are read at the start.
When it fails:
    A wrong configuration stops it at the start and says where. A request that no target can serve
    is refused, which is a normal answer. It asks nobody while it works, so nothing can be down.
"""
