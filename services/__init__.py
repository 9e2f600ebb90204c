"""Millrace: an LLM gateway built as an event-streaming pipeline."""
