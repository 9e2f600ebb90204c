"""Batcher: gathers routed requests into batches.

Consumes: ``routed-requests``.
Decides: which requests share a window and when a window closes (``decide.py``).
Emits: ``request-batches-p0``, ``-p1``, ``-p2``.
Keeps: open windows of at most 10 ms; a request's offset stays open until its batch is durable.
When it fails: requests of windows that had not left are delivered again, in whatever new batch.
"""
