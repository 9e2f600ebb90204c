"""What is remembered of control records: who is cancelled, and whose call is needed."""

import pytest

from services.shared.domain.cancellations import REMEMBERED_MS, Cancellations
from services.shared.domain.events import ControlRequested

NOW_MS = 1_000_000.0


def said(
    action: str, *, holder: str = "", subject: str = "r", tenant: str = "t"
) -> ControlRequested:
    """A record."""
    return ControlRequested(action=action, request_id=subject, tenant=tenant, at=0, holder=holder)


CANCEL = said("cancel")
HOLD_A, HOLD_B = said("hold", holder="a"), said("hold", holder="b")
RELEASE_A, RELEASE_B = said("release", holder="a"), said("release", holder="b")


@pytest.mark.parametrize(
    ("records", "given_up", "stopped", "left"),
    [
        pytest.param([], False, False, False, id="nothing"),
        pytest.param([said("revoke")], False, False, False, id="something else"),
        pytest.param([CANCEL], True, True, False, id="given up"),
        pytest.param([HOLD_A], False, False, False, id="needed"),
        pytest.param([RELEASE_A], False, False, False, id="never needed"),
        pytest.param([HOLD_A, CANCEL], True, False, True, id="needed, given up"),
        pytest.param([CANCEL, HOLD_A], True, False, True, id="given up, needed"),
        pytest.param([HOLD_A, HOLD_A, CANCEL, RELEASE_A], True, True, False, id="said twice"),
        pytest.param([HOLD_A, HOLD_B, RELEASE_A, CANCEL], True, False, True, id="of two one"),
        pytest.param([HOLD_A, RELEASE_B, CANCEL], True, False, True, id="of another"),
        pytest.param([HOLD_A, RELEASE_A, HOLD_A, CANCEL], True, False, True, id="needed again"),
        pytest.param([HOLD_A, RELEASE_A], False, False, False, id="needed no more"),
        pytest.param([said("cancel", tenant="u")], False, False, False, id="of a stranger"),
    ],
)
def test_what_was_said_of_a_request(
    records: list[ControlRequested], *, given_up: bool, stopped: bool, left: bool
) -> None:
    """Only a call that nobody needs ends with its request; the order does not matter."""
    known = Cancellations()
    for record in records:
        known.hear(record, now_ms=NOW_MS)
    assert known.is_given_up("r", "t") is given_up
    assert known.is_stopped("r", "t") is stopped
    assert known.is_left("r", "t") is left


def test_it_is_remembered_for_as_long_as_the_topic_keeps_it() -> None:
    """An hour from the first word on."""
    known = Cancellations()
    known.hear(CANCEL, now_ms=NOW_MS)
    known.hear(said("cancel", subject="s"), now_ms=NOW_MS + REMEMBERED_MS)
    assert known.is_given_up("r", "t")
    known.hear(said("revoke"), now_ms=NOW_MS + REMEMBERED_MS + 1)
    assert not known.is_given_up("r", "t")
    assert known.is_given_up("s", "t")


def test_what_is_remembered_is_bounded() -> None:
    """The oldest go first."""
    known = Cancellations(most=2)
    for number in range(4):
        known.hear(said("cancel", subject=f"{number}"), now_ms=NOW_MS)
    assert [known.is_given_up(f"{number}", "t") for number in range(4)] == [
        False,
        False,
        True,
        True,
    ]
