"""Slots: one process each, and a memory of crashes."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from services.shared.domain.errors import InvalidConfiguration
from services.shared.stream.slots import CRASH_LOOP_WINDOW_MS, Slot

NOW_MS = 1_780_000_000_000.0
SECOND_MS = 1000.0


class Machine:
    """Where processes of one service hold slots, and crash."""

    def __init__(self, folder: Path) -> None:
        """Keep the locks in a folder."""
        self.folder = folder
        self.slots: list[Slot] = []

    def hold(self, *, after_ms: float = 0.0, service: str = "router", ordinal: int = 0) -> Slot:
        """Start a process."""
        now_ms = NOW_MS + after_ms
        slot = Slot.hold(data=self.folder, service=service, ordinal=ordinal, now_ms=now_ms)
        self.slots.append(slot)
        return slot

    def crash(self) -> None:
        """All processes are gone: their locks with them, nothing said."""
        for slot in self.slots:
            slot._file.close()

    def crashes(self, *, after_ms: float) -> int:
        """Start a process and let it crash; returns how many crashes it knew of."""
        count = self.hold(after_ms=after_ms).crashes
        self.crash()
        return count


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    """A machine without processes."""
    machine = Machine(tmp_path)
    yield machine
    machine.crash()


def test_a_slot_has_the_name_of_its_instance(machine: Machine) -> None:
    """The name is what makes a group membership static."""
    assert machine.hold().name == "router-0"


def test_two_processes_cannot_hold_one_slot(machine: Machine) -> None:
    """The second one is told what to do about it."""
    first = machine.hold()
    with pytest.raises(InvalidConfiguration, match="MILLRACE_SLOT"):
        machine.hold()
    first.release()
    machine.hold().release()


def test_other_services_and_ordinals_have_slots_of_their_own(machine: Machine) -> None:
    """Nobody is in anybody's way."""
    slots = [machine.hold(), machine.hold(service="batcher")]
    slots.append(machine.hold(ordinal=1))
    assert {slot.name for slot in slots} == {"router-0", "batcher-0", "router-1"}


def test_a_clean_start_counts_nothing(machine: Machine) -> None:
    """Neither the first one nor one after a goodbye."""
    first = machine.hold()
    assert (first.crashes, first.is_crash_loop) == (0, False)
    first.release()
    assert machine.hold(after_ms=1).crashes == 0


def test_crashes_in_quick_succession_add_up(machine: Machine) -> None:
    """The third one makes a loop."""
    counts = [machine.crashes(after_ms=i * SECOND_MS) for i in range(2)]
    assert counts == [0, 1]
    slot = machine.hold(after_ms=2 * SECOND_MS)
    assert (slot.crashes, slot.is_crash_loop) == (2, False)
    machine.crash()
    slot = machine.hold(after_ms=3 * SECOND_MS)
    assert (slot.crashes, slot.is_crash_loop) == (3, True)


def test_crashes_far_apart_have_nothing_to_do_with_each_other(machine: Machine) -> None:
    """Each is the first one."""
    apart_ms = CRASH_LOOP_WINDOW_MS + 1
    assert [machine.crashes(after_ms=i * apart_ms) for i in range(4)] == [0, 1, 1, 1]


def test_while_records_run_alone_every_crash_counts(machine: Machine) -> None:
    """The culprit may be the last of many, minutes after the start."""
    for i in range(4):
        machine.crashes(after_ms=i * SECOND_MS)
    assert machine.crashes(after_ms=10 * CRASH_LOOP_WINDOW_MS) == 4


def test_calm_ends_the_loop(machine: Machine) -> None:
    """Once the culprit is found, a later crash is a first one."""
    for i in range(4):
        machine.crashes(after_ms=i * SECOND_MS)
    slot = machine.hold(after_ms=5 * SECOND_MS)
    slot.calm(now_ms=NOW_MS + 6 * SECOND_MS)
    machine.crash()
    assert machine.crashes(after_ms=7 * SECOND_MS) == 1


def test_a_goodbye_ends_the_loop(machine: Machine) -> None:
    """An operator who restarts the service starts afresh."""
    for i in range(3):
        machine.crashes(after_ms=i * SECOND_MS)
    machine.hold(after_ms=4 * SECOND_MS).release()
    assert machine.hold(after_ms=5 * SECOND_MS).crashes == 0


@pytest.mark.parametrize("content", [b"{", b"\x00\x00", b'{"running": 7}', b"[]"])
def test_a_torn_file_is_a_crash(machine: Machine, content: bytes) -> None:
    """What a dying machine wrote does not keep the service from starting."""
    machine.hold().release()
    (machine.folder / "slots" / "router-0.lock").write_bytes(content)
    assert machine.hold(after_ms=SECOND_MS).crashes == 1
