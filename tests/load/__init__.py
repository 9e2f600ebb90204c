"""Load generator and benchmark: ``python -m tests.load`` (``make bench``)."""
