"""What endpoints take from a request, within bounds."""

import asyncio
from typing import Final, TypeVar

import msgspec
from starlette.requests import ClientDisconnect, Request

from services.schema_registry import refusals
from services.schema_registry.refusals import Refusal

MAX_BODY_BYTES: Final = 1024 * 1024
_BODY_S: Final = 10.0
_MAX_DIGITS: Final = len(str(refusals.MAX_VERSION))

T = TypeVar("T")


class RefusedError(Exception):
    """The request itself cannot be answered; carries the ``Refusal``."""

    def __init__(self, refusal: Refusal) -> None:
        """Remember the refusal."""
        super().__init__(refusal.message)
        self.refusal = refusal


def subject_of(request: Request) -> str:
    """The subject in the path; "" where there is none."""
    subject: str = request.path_params.get("subject", "")
    return subject


def id_of(request: Request) -> int:
    """The schema id in the path.

    Raises:
        RefusedError: It is not a number.
    """
    text: str = request.path_params["id"]
    if text.isdecimal() and text.isascii() and len(text) <= _MAX_DIGITS:
        return int(text)
    raise RefusedError(refusals.invalid_request("The id is not a number"))


def flag(request: Request, name: str) -> bool:
    """Whether a query parameter is "true"."""
    return request.query_params.get(name, "").lower() == "true"


async def body_of(request: Request, kind: type[T]) -> T:
    """Read a bounded body.

    Raises:
        RefusedError: It is too large, too slow, or not of the protocol.
    """
    body = bytearray()
    try:
        async with asyncio.timeout(_BODY_S):
            async for chunk in request.stream():
                body += chunk
                if len(body) > MAX_BODY_BYTES:
                    raise RefusedError(
                        Refusal(413, f"The body is longer than {MAX_BODY_BYTES} bytes")
                    )
    except TimeoutError:
        raise RefusedError(Refusal(408, f"The body did not come within {_BODY_S:g} s")) from None
    except ClientDisconnect:
        raise RefusedError(refusals.invalid_request("The body was cut off")) from None
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, RecursionError) as error:
        raise RefusedError(refusals.invalid_request(f"The body is not valid: {error}")) from None
