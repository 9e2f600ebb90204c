"""These run on fake time."""

from tests.support.pipeline import fake_time_only as pytest_asyncio_loop_factories

__all__ = ["pytest_asyncio_loop_factories"]
