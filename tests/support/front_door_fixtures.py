"""Front doors as fixtures, each on asyncio's loop and on uvloop.

``pytest_plugins = ["tests.support.front_door_fixtures"]`` gives ``app``, ``quick`` and ``patient``.
"""

import asyncio
from collections.abc import Iterator

import pytest
import uvloop

from tests.support.front_door import LoopFactory, RunningDoor, running_door
from tests.support.front_door_application import PATIENT, QUICK, Application


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def new_loop(request: pytest.FixtureRequest) -> LoopFactory:
    """Both loops: the product runs on uvloop, and its transports differ from asyncio's."""
    factory: LoopFactory = request.param
    return factory


@pytest.fixture
def app() -> Application:
    """The application behind the door."""
    return Application()


@pytest.fixture
def quick(app: Application, new_loop: LoopFactory) -> Iterator[RunningDoor]:
    """A door with short time limits and small bounds."""
    with running_door(app, limits=QUICK, new_loop=new_loop) as running:
        yield running


@pytest.fixture
def patient(app: Application, new_loop: LoopFactory) -> Iterator[RunningDoor]:
    """A door with the product's bounds."""
    with running_door(app, limits=PATIENT, new_loop=new_loop) as running:
        yield running
