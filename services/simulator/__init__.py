"""Simulator: a provider that ships with Millrace and behaves as badly as real ones do.

Serves: OpenAI's wire format (chat completions, completions, embeddings, models) on its own port.
Decides: everything from the model's name; see ``README.md`` beside this file and ``grammar.py``.
Keeps: a bounded log of the calls it received, so that tests can count what was really called;
rate limits and queues of each model name, in memory.
When it fails: it loses nothing but its own log; with ``MILLRACE_SIMULATOR_CALL_LOG`` not even that.
"""
