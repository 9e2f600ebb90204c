"""Router: chooses where a request goes.

Consumes:
    ``cache-misses`` (``CacheMissed``).
Decides:
    Which targets serve a request, in which order: gates (caller, alias, operation, price, tier,
    tools, images, output and context window), then the alias's strategy, then what a conversation's
    prompt cache and open circuits change of its order (``services.shared.domain.routing``).
Emits:
    ``routed-requests`` (``RequestRouted``); for a refusal ``inference-results`` and, when a client
    waits, ``result-chunks``.
Keeps:
    The configuration and the price catalog are read at the start. Where a strategy looks at it:
    what ``inference-results`` and ``provider-health`` say of targets and conversations, followed
    without a group from five minutes before the start, and tokens under way of its own routes.
When it fails:
    A wrong configuration stops it at the start and says where. A request that no target can serve
    is refused, which is a normal answer. It asks nobody while it works, so nothing can be down.
"""
