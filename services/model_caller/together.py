"""Several things at once, of which none spoils another."""

import asyncio
from collections.abc import Awaitable, Coroutine, Iterable
from typing import Any

from services.shared.domain.errors import MustStop
from services.shared.ports.work import Written


async def run_all(coroutines: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Run all to their ends, also when one fails; then raise what the first one raised.

    A task group would cancel the others: calls that are paid for.
    """
    results = await asyncio.gather(*coroutines, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result


async def acknowledged(sent: Awaitable[Written]) -> Written:
    """Wait until a record is durable. Whoever waits must not be cancelled meanwhile.

    Raises:
        MustStop: Nobody knows whether it is; the runtime is ending the process. Not retriable.
    """
    try:
        return await sent
    except Exception as error:
        raise MustStop(f"a record was not acknowledged: {error!r}") from error
