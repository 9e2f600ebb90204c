"""The ``millrace`` command: starts the local stack, looks at it, and speaks with it.

One file a command; ``__main__`` puts them together. Commands import what is heavy inside their
functions, so that ``millrace --help`` and short commands answer at once.
"""
