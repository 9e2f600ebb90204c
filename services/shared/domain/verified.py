"""What look-up and writer have to agree on in the verified mode."""

LEAST_SCORE = 0.7
"""Candidates below this score are never served, so it does not matter whether they are right."""

SHADOW_FEATURE = "cache-shadow"
"""Feature under which the ledger has calls that only find out whether a hit was right."""
