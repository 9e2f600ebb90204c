"""uvicorn's settings for the front door."""

import asyncio

import uvicorn
from starlette.types import ASGIApp

from services.gateway.front_door.door import FrontDoor


class FrontDoorConfig(uvicorn.Config):
    """uvicorn's settings, with the door that all connections share.

    Attributes:
        door: Limits and counters.
        application: The ASGI application as it was given.
    """

    def __init__(
        self, app: ASGIApp, *, door: FrontDoor, connection: type[asyncio.Protocol]
    ) -> None:
        # Proxy headers stay off: anybody's X-Forwarded-For must not become the client's address.
        super().__init__(
            app,
            http=connection,
            loop="none",
            ws="none",
            interface="asgi3",
            log_config=None,
            proxy_headers=False,
        )
        self.door = door
        self.application = app
