"""Claims of idempotency keys: who holds a key, as any reader of the log sees it."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.shared.domain.claims import (
    HOLD_MS,
    READ_BACK_MS,
    SLACK_MS,
    Claims,
    claim_fingerprint,
    key_hash,
)
from services.shared.domain.events import IdempotencyClaimed

T0 = 1_780_000_000_000
KEY = key_hash("acme", "k")
MINUTE = 60_000

Logged = tuple[int, IdempotencyClaimed]


def claim(number: int, *, takes_over: int | None = None, key: str = KEY) -> IdempotencyClaimed:
    """A claim of the request of this number."""
    return IdempotencyClaimed(
        tenant="acme",
        key_hash=key,
        fingerprint=f"f{number}",
        request_id=f"r{number}",
        at=T0,
        takes_over="" if takes_over is None else f"r{takes_over}",
    )


def held(log: list[Logged], *, now_ms: int, key: str = KEY) -> str | None:
    """The holder that a reader of this log sees."""
    claims = Claims()
    for at_ms, each in log:
        claims.apply(each, at_ms=at_ms)
    holder = claims.find(key, now_ms=now_ms)
    return None if holder is None else holder.request_id


@pytest.mark.parametrize(
    ("log", "holder"),
    [
        pytest.param([], None, id="none"),
        pytest.param([(0, claim(1))], "r1", id="one"),
        pytest.param([(0, claim(1)), (0, claim(2)), (3, claim(3))], "r1", id="first-wins"),
        pytest.param([(0, claim(1)), (HOLD_MS - 1, claim(2))], "r1", id="last-moment"),
        pytest.param([(0, claim(1)), (HOLD_MS, claim(2))], "r2", id="a-day-later"),
        pytest.param(
            [(0, claim(1)), (5, claim(2)), (HOLD_MS, claim(3))], "r1", id="losers-count-too"
        ),
        pytest.param(
            [(0, claim(1)), (5, claim(2)), (HOLD_MS + 5, claim(3))], "r3", id="a-day-after-a-loser"
        ),
        pytest.param([(0, claim(1)), (9, claim(2, takes_over=1))], "r2", id="taken-over"),
        pytest.param(
            [(0, claim(1)), (9, claim(2, takes_over=1)), (9, claim(3, takes_over=1))],
            "r2",
            id="first-takeover-wins",
        ),
        pytest.param(
            [(0, claim(1)), (9, claim(2, takes_over=1)), (9, claim(3, takes_over=2))],
            "r3",
            id="taken-over-again",
        ),
        pytest.param([(0, claim(1)), (9, claim(3, takes_over=2))], "r1", id="of-somebody-else"),
        pytest.param([(0, claim(1)), (-50, claim(2))], "r1", id="the-log's-clock-steps-back"),
        pytest.param([(0, claim(1)), (0, claim(1))], "r1", id="twice-the-same"),
    ],
)
def test_who_holds_a_key(log: list[Logged], holder: str | None) -> None:
    """The first claim of a day, or the first that takes its place over."""
    shifted = [(T0 + at_ms, each) for at_ms, each in log]
    last_ms = max((at_ms for at_ms, _ in shifted), default=T0)
    assert held(shifted, now_ms=last_ms) == holder


@pytest.mark.parametrize(
    ("age_ms", "holder"), [(HOLD_MS + SLACK_MS - 1, "r1"), (HOLD_MS + SLACK_MS, None)]
)
def test_a_key_is_known_a_little_longer_than_it_is_held(age_ms: int, holder: str | None) -> None:
    """So that a gateway whose clock is ahead claims nothing that the log would not grant."""
    assert held([(T0, claim(1))], now_ms=T0 + age_ms) == holder


def test_a_claim_is_told_who_holds_its_key() -> None:
    """Winner and loser learn the same, with the time of the winner's claim."""
    claims = Claims()
    won = claims.apply(claim(1), at_ms=T0)
    lost = claims.apply(claim(2), at_ms=T0 + 7)
    assert (won.request_id, won.fingerprint, won.claimed_at) == ("r1", "f1", T0)
    assert (lost.request_id, lost.fingerprint, lost.claimed_at) == ("r1", "f1", T0)


def test_what_is_past_is_forgotten() -> None:
    """Memory holds no more than a day and a little of keys."""
    claims = Claims()
    for number in range(100):
        other = key_hash("acme", str(number))
        claims.apply(claim(number, key=other), at_ms=T0 + number * MINUTE)
    assert len(claims) == 100
    claims.apply(claim(100), at_ms=T0 + HOLD_MS + SLACK_MS + 49 * MINUTE)
    assert len(claims) == 51


_PAUSES = (
    *(0, 1, MINUTE, 4 * MINUTE, HOLD_MS // 2, HOLD_MS - 4 * MINUTE, HOLD_MS),
    *(HOLD_MS + SLACK_MS - 1, HOLD_MS + SLACK_MS, READ_BACK_MS - 1, READ_BACK_MS),
)
_STEPS = st.lists(
    st.tuples(
        st.sampled_from(_PAUSES),
        st.integers(0, 4 * MINUTE),  # so old is what the gateway has read
        st.integers(-4 * MINUTE, 4 * MINUTE),  # so wrong is its clock
        st.booleans(),  # whether the holder's request has ended without effect
    ),
    max_size=12,
)


def _history(steps: list[tuple[int, int, int, bool]]) -> list[Logged]:
    """What gateways write that keep to the protocol: no claim where they know of a holder."""
    log: list[Logged] = []
    now_ms = T0
    for number, (pause_ms, lag_ms, skew_ms, is_free) in enumerate(steps):
        now_ms += pause_ms
        seen = [(at_ms, each) for at_ms, each in log if at_ms <= now_ms - lag_ms]
        holder = held(seen, now_ms=now_ms + skew_ms)
        if holder is None:
            log.append((now_ms, claim(number)))
        elif is_free:
            log.append((now_ms, claim(number, takes_over=int(holder[1:]))))
    return log


@given(_STEPS)
def test_whoever_reads_back_sees_the_same_holder(steps: list[tuple[int, int, int, bool]]) -> None:
    """A gateway that starts at any time agrees with one that has read the log from its start."""
    log = _history(steps)
    for now_ms in {
        at_ms + more for at_ms, _ in log for more in (0, 1, HOLD_MS, HOLD_MS + SLACK_MS)
    }:
        before = [each for each in log if each[0] <= now_ms]
        read_back = [each for each in before if each[0] >= now_ms - READ_BACK_MS]
        assert held(read_back, now_ms=now_ms) == held(before, now_ms=now_ms)


@given(_STEPS)
def test_a_claim_that_holds_its_key_holds_it_for_a_day(
    steps: list[tuple[int, int, int, bool]],
) -> None:
    """Nobody but one who takes it over gets the key within a day of it."""
    claims = Claims()
    holders: dict[str, int] = {}
    for at_ms, each in _history(steps):
        holder = claims.apply(each, at_ms=at_ms).request_id
        if holder == each.request_id:
            free = {each.takes_over}
            assert all(at_ms - since >= HOLD_MS for of, since in holders.items() if of not in free)
            holders = {holder: at_ms}


def test_keys_of_tenants_are_apart() -> None:
    """Also where tenant and key together are the same text."""
    hashes = {key_hash("acme", "k"), key_hash("acm", "ek"), key_hash("other", "k")}
    assert len(hashes) == 3
    assert all(len(each) == 64 and "acme" not in each for each in hashes)


def test_a_fingerprint_is_of_what_is_asked() -> None:
    """Order of keys and white space are not asked; operation, values and ``stream`` are."""
    body = {"model": "small", "input": ["a", "b"], "stream": False}
    same = json.dumps(dict(reversed(body.items())), indent=2).encode()
    fingerprint = claim_fingerprint("chat", json.dumps(body).encode())
    assert claim_fingerprint("chat", same) == fingerprint
    others = (
        claim_fingerprint("embeddings", same),
        claim_fingerprint("chat", json.dumps(body | {"stream": True}).encode()),
        claim_fingerprint("chat", json.dumps(body | {"input": ["b", "a"]}).encode()),
    )
    assert len({fingerprint, *others}) == 4
