"""How hard a request looks: a score that ranks prompts, and the cuts that make tiers of it.

``classifier`` scores a text by hand-written cues and by learned weights of n-grams; ``cuts`` lays
the limits between tiers at quantiles of an alias's own traffic.
"""
