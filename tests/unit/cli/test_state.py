"""What is written in a data directory."""

from pathlib import Path

import pytest

from services.cli.errors import CommandError
from services.cli.local_stack.keys import is_private, make_dev_key, make_secret
from services.cli.local_stack.state import (
    Layout,
    ProcessRecord,
    Stack,
    StackState,
    TopicsMade,
    read_stack,
    write_json,
)
from services.cli.local_stack.topics import agreed_partitions
from services.shared.domain.keys import parse_key


def test_the_state_is_read_as_it_was_written(tmp_path: Path) -> None:
    """``millrace status`` sees what the supervisor saw."""
    layout = Layout(tmp_path)
    stack = Stack(
        state=StackState.RUNNING,
        pid=7,
        data=str(tmp_path),
        partitions=1,
        addresses={"kafka": "127.0.0.1:9092"},
        processes=[ProcessRecord(name="kafka", pid=8, created_at_s=1.5)],
    )
    assert read_stack(layout) is None
    write_json(layout.state, stack)
    assert read_stack(layout) == stack
    assert [path.name for path in tmp_path.iterdir()] == ["state.json"], "no part is left"


def test_a_damaged_state_is_named(tmp_path: Path) -> None:
    """The message names the file and says that it may go."""
    layout = Layout(tmp_path)
    layout.state.write_text("{")
    with pytest.raises(CommandError, match=r"state\.json is damaged.*remove it"):
        read_stack(layout)


def test_the_development_key_is_made_once(tmp_path: Path) -> None:
    """It is shown when it is made, has the form of a key, and only its owner may read it."""
    layout = Layout(tmp_path)
    key = make_dev_key(layout)
    assert key is not None
    parsed = parse_key(key)
    assert parsed is not None
    assert parsed.environment == "dev"
    assert layout.dev_key.read_text() == key
    assert is_private(layout.dev_key)
    assert make_dev_key(layout) is None
    assert layout.dev_key.read_text() == key


def test_the_signing_secret_is_made_once(tmp_path: Path) -> None:
    """A later start signs as the earlier ones did; only its owner may read it."""
    layout = Layout(tmp_path)
    make_secret(layout)
    secret = layout.secret.read_bytes()
    assert len(secret) == 32
    assert is_private(layout.secret)
    make_secret(layout)
    assert layout.secret.read_bytes() == secret


def test_the_partition_count_of_the_first_start_stays(tmp_path: Path) -> None:
    """Leaving it out means what there is; asking for another is refused with the remedy."""
    layout = Layout(tmp_path)
    assert agreed_partitions(layout, asked=None) == 1
    assert agreed_partitions(layout, asked=3) == 3
    write_json(layout.topics, TopicsMade(partitions=3, digest=""))
    assert agreed_partitions(layout, asked=None) == 3
    assert agreed_partitions(layout, asked=3) == 3
    with pytest.raises(
        CommandError, match=r"have 3 partitions each, not 1.*Leave --partitions out"
    ):
        agreed_partitions(layout, asked=1)


@pytest.mark.parametrize("asked", [0, -1, 65])
def test_a_senseless_partition_count_is_refused(tmp_path: Path, asked: int) -> None:
    """The message names the bounds."""
    with pytest.raises(CommandError, match="choose 1 to 64"):
        agreed_partitions(Layout(tmp_path), asked=asked)
