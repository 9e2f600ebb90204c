"""Metrics, logs and traces of every service."""
