"""The choice of ports."""

import socket
from collections.abc import Iterator

import pytest

from services.cli.errors import CommandError
from services.cli.local_stack.ports import HOST, choose_ports, free_port, is_free


@pytest.fixture
def taken_port() -> Iterator[int]:
    """A port that another program listens on."""
    with socket.socket() as other:
        other.bind((HOST, 0))
        other.listen()
        yield other.getsockname()[1]


def test_the_usual_port_is_chosen_where_it_is_free() -> None:
    """A stack on a quiet machine is where its documentation says."""
    port = free_port()
    assert choose_ports({"kafka": port}, demanded={}) == {"kafka": port}


def test_another_port_is_chosen_where_the_usual_one_is_taken(taken_port: int) -> None:
    """A second stack on a machine starts beside the first."""
    chosen = choose_ports({"kafka": taken_port}, demanded={})
    assert chosen["kafka"] != taken_port
    assert is_free(chosen["kafka"])


def test_a_demanded_port_is_taken_or_refused(taken_port: int) -> None:
    """A port that the user names is never replaced by another one."""
    port = free_port()
    assert choose_ports({"gateway": taken_port}, demanded={"gateway": port}) == {"gateway": port}
    with pytest.raises(CommandError, match=f"Port {taken_port} is taken"):
        choose_ports({"gateway": port}, demanded={"gateway": taken_port})


def test_no_port_is_chosen_twice() -> None:
    """Names with the same usual port, or any port, get different ones."""
    port = free_port()
    wanted = {"a": port, "b": port, **{f"any-{number}": 0 for number in range(20)}}
    chosen = choose_ports(wanted, demanded={"c": free_port(avoid=[port])})
    assert len(set(chosen.values())) == len(wanted) + 1
