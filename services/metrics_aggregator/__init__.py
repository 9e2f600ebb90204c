"""Metrics aggregator: counts what requests used, in windows of 10 s, 1 min, 1 h and 1 day.

Consumes: ``inference-results``.
Decides: which window a request counts in, and what it adds to it (``decide.py``).
Emits: ``usage-windows``.
Keeps: open windows, its position, and the ids counted lately, in a Faust table (changelog topic
    ``metrics-aggregator-windows-changelog``); ``windows.py`` says why nothing is counted twice.
When it fails: windows come late; no request notices, and no count is lost.
"""
