"""The garbage collector of a service that is running."""

import gc

_YOUNG = 50_000
_OLDER = 20


def settle_garbage_collector() -> None:
    """Leave what was made at the start alone, and look for cycles rarely.

    A record in work is some hundred objects, so with the defaults (700 new objects) every record
    had all that are in work looked through, again and again.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG, _OLDER, _OLDER)
