"""Trace exporter: makes the spans of a request from its terminal record, off the hot path.

Consumes: ``inference-results``.
Decides: which requests are traced and what their spans are (``decide.py``).
Emits: nothing; exports spans by OTLP where ``OTEL_EXPORTER_OTLP_ENDPOINT`` is set.
Keeps: members of batches until the batch's span is complete, bounded.
When it fails: spans are missing; no request notices.
"""
