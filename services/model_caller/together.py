"""Several things at once, of which none spoils another."""

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any


async def run_all(coroutines: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Run all to their ends, also when one fails; then raise what the first one raised.

    A task group would cancel the others: calls that are paid for.
    """
    results = await asyncio.gather(*coroutines, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
