"""Journeys run on fake time."""

from tests.support.pipeline import fake_time_only as pytest_asyncio_loop_factories
from tests.support.pipeline import pipeline

__all__ = ["pipeline", "pytest_asyncio_loop_factories"]
