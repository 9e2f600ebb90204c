"""Fewer examples in the quick profile, for properties whose examples take 10 ms and more."""

from hypothesis import settings

_ALL = settings().max_examples
_QUICK = 10

slow_examples = settings(max_examples=_ALL if _ALL >= 100 else _QUICK)
"""``make test`` tries as many examples as of any other property."""
