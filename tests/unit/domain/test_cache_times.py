"""How long answers are kept."""

import msgspec
import pytest

from services.shared.domain.cache_times import CacheTimes
from services.shared.domain.configuration import Cache, CacheTtl, Configuration, Model, ModelTarget

TARGETS = (ModelTarget(provider="p"),)
CONFIGURATION = Configuration(
    cache=Cache(ttl_s=CacheTtl(chat=60, text_completion=0, embeddings=600)),
    models={
        "brief": Model(targets=TARGETS, cache_ttl_s=5),
        "never-*": Model(targets=TARGETS, cache_ttl_s=0),
        "usual": Model(targets=TARGETS),
    },
)


@pytest.mark.parametrize(
    ("alias", "operation", "ttl_s"),
    [
        ("usual", "chat", 60),
        ("usual", "text_completion", 0),
        ("usual", "embeddings", 600),
        ("unknown", "chat", 60),
        ("brief", "chat", 5),
        ("brief", "text_completion", 5),
        ("never-ever", "embeddings", 0),
        ("brief", "shopping", 0),
        ("usual", "", 0),
        ("usual", "__class__", 0),
    ],
)
def test_alias_and_operation_decide(alias: str, operation: str, ttl_s: int) -> None:
    """The alias's own time first; what is no operation is never kept."""
    assert CacheTimes(CONFIGURATION).ttl_s(alias, operation) == ttl_s


def test_a_cache_that_is_off_keeps_nothing() -> None:
    """Whatever an alias says."""
    off = msgspec.structs.replace(CONFIGURATION, cache=Cache(enabled=False))
    assert CacheTimes(off).ttl_s("brief", "chat") == 0
