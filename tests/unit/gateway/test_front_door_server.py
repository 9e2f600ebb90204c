"""How many connections the operating system's limit on open files allows."""

import resource

import pytest

from services.gateway.front_door import server


@pytest.mark.parametrize(
    ("soft", "hard", "connections", "raised_to"),
    [
        pytest.param(20_000, 20_000, 10_000, None, id="enough"),
        pytest.param(resource.RLIM_INFINITY, resource.RLIM_INFINITY, 10_000, None, id="unlimited"),
        pytest.param(1_024, 1_048_576, 10_000, 11_256, id="raised_as_far_as_needed"),
        pytest.param(1_024, resource.RLIM_INFINITY, 10_000, 11_256, id="raised_below_unlimited"),
        pytest.param(1_024, 4_096, 3_490, 4_096, id="fewer_connections"),
        pytest.param(256, 256, 1, 256, id="never_none"),
    ],
)
def test_connections_fit_the_limit_on_open_files(
    monkeypatch: pytest.MonkeyPatch, soft: int, hard: int, connections: int, raised_to: int | None
) -> None:
    """The soft limit is raised as needed; below it fewer connections are served, not failed."""
    raised: list[int] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: raised.append(limits[0]))
    assert server._allow_files(10_000) == connections
    assert raised == ([] if raised_to is None else [raised_to])
