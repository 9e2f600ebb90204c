"""The choice of ports."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.cli.errors import CommandError
from services.cli.local_stack.ports import HOST, Reservations, choose_ports, free_port, is_free


@pytest.fixture
def taken_port() -> Iterator[int]:
    """A port that another program listens on."""
    with socket.socket() as other:
        other.bind((HOST, 0))
        other.listen()
        yield other.getsockname()[1]


@pytest.fixture
def reservations(tmp_path: Path) -> Iterator[Reservations]:
    """Reservations that no other stack of this machine sees."""
    held = Reservations(tmp_path)
    yield held
    held.release()


def test_the_usual_port_is_chosen_where_it_is_free(reservations: Reservations) -> None:
    """A stack on a quiet machine is where its documentation says."""
    port = free_port()
    assert choose_ports({"kafka": port}, demanded={}, reservations=reservations) == {"kafka": port}


def test_another_port_is_chosen_where_the_usual_one_is_taken(
    taken_port: int, reservations: Reservations
) -> None:
    """A second stack on a machine starts beside the first."""
    chosen = choose_ports({"kafka": taken_port}, demanded={}, reservations=reservations)
    assert chosen["kafka"] != taken_port
    assert is_free(chosen["kafka"])


def test_a_demanded_port_is_taken_or_refused(taken_port: int, reservations: Reservations) -> None:
    """A port that the user names is never replaced by another one."""
    port = free_port()
    assert choose_ports(
        {"gateway": taken_port}, demanded={"gateway": port}, reservations=reservations
    ) == {"gateway": port}
    with pytest.raises(CommandError, match=f"Port {taken_port} is taken"):
        choose_ports({"gateway": port}, demanded={"gateway": taken_port}, reservations=reservations)


def test_no_port_is_chosen_twice(reservations: Reservations) -> None:
    """Names with the same usual port, or any port, get different ones."""
    port = free_port()
    wanted = {"a": port, "b": port, **{f"any-{number}": 0 for number in range(20)}}
    chosen = choose_ports(wanted, demanded={"c": free_port()}, reservations=reservations)
    assert len(set(chosen.values())) == len(wanted) + 1


def test_a_port_that_another_stack_has_reserved_is_not_chosen(
    tmp_path: Path, reservations: Reservations
) -> None:
    """Two stacks that start at the same moment do not meet on a port."""
    port = free_port()
    other = Reservations(tmp_path)
    assert other.take(port)
    chosen = choose_ports({"kafka": port}, demanded={}, reservations=reservations)
    assert chosen["kafka"] != port
    other.release()
    assert reservations.take(port)
