"""Who holds an ``Idempotency-Key``: the claims of one partition, folded in log order. Pure.

Every gateway folds the same records by the same times, those of the log, so all of them see one
holder. Three things make that hold for a gateway which starts later, and reads back no further than
``READ_BACK_MS``:

- A claim wins where no claim of its key, winner or loser, came in the ``HOLD_MS`` before it; so
  what decides about a claim lies at most ``HOLD_MS`` before it.
- A gateway that knows of a holder writes no claim. Losers therefore stand close behind their
  winner.
- ``find`` knows a key for ``SLACK_MS`` longer than the log holds it, and reading back goes further
  still: neither clocks that differ nor the place where reading began make a loser look like a
  winner whose time has not come.
"""

import hashlib

import msgspec

from services.shared.domain.events import IdempotencyClaimed

HOLD_MS = 24 * 3600 * 1000
SLACK_MS = 10 * 60 * 1000
READ_BACK_MS = HOLD_MS + 3 * SLACK_MS


class Holder(msgspec.Struct, frozen=True, gc=False):
    """The request that a key stands for.

    Attributes:
        request_id: The request.
        fingerprint: What was asked, as the claim says it.
        claimed_at: When its claim reached the log, unix ms.
        last_at: When the last claim of the key reached the log, unix ms.
    """

    request_id: str
    fingerprint: str
    claimed_at: int
    last_at: int


class Claims:
    """The claims of one partition."""

    def __init__(self) -> None:
        """Know of none."""
        self._holders: dict[bytes, Holder] = {}  # in the order of `last_at`

    def __len__(self) -> int:
        """Keys that are held."""
        return len(self._holders)

    def apply(self, claim: IdempotencyClaimed, *, at_ms: int) -> Holder:
        """Take the next claim of the log; returns who holds its key from then on.

        Args:
            claim: The claim.
            at_ms: When it reached the log, unix ms.
        """
        key = bytes.fromhex(claim.key_hash)
        known = self._holders.pop(key, None)
        if known is not None and at_ms - known.last_at >= HOLD_MS:
            known = None
        if known is None or (claim.takes_over and claim.takes_over == known.request_id):
            holder = Holder(claim.request_id, claim.fingerprint, at_ms, at_ms)
        else:
            last_at = max(at_ms, known.last_at)
            holder = msgspec.structs.replace(known, last_at=last_at)
        self._holders[key] = holder
        self._forget(at_ms)
        return holder

    def find(self, key_hash: str, *, now_ms: float) -> Holder | None:
        """Who holds a key; None = nobody."""
        holder = self._holders.get(bytes.fromhex(key_hash))
        return None if holder is None or _is_past(holder, now_ms) else holder

    def _forget(self, at_ms: int) -> None:
        # The claim of this moment is the last one and stays, so there always is a first one.
        while _is_past(self._holders[oldest := next(iter(self._holders))], at_ms):
            del self._holders[oldest]


def _is_past(holder: Holder, now_ms: float) -> bool:
    return now_ms - holder.last_at >= HOLD_MS + SLACK_MS


def key_hash(tenant: str, key: str) -> str:
    """What is stored of a key, hex; one tenant's keys are never another's."""
    return hashlib.sha256(
        b"%d:%b%b" % (len(tenant.encode()), tenant.encode(), key.encode())
    ).hexdigest()


_ENCODER = msgspec.json.Encoder(order="deterministic")


def claim_fingerprint(operation: str, body: bytes) -> str:
    """What was asked, hex: the path's operation and the whole body, ``stream`` included.

    Two bodies are one where they differ in what JSON leaves open: the order of keys, white space,
    escapes. Headers do not count; they say how a request is treated, not what is asked.

    Args:
        operation: What the path asks for.
        body: A body that admission has accepted.
    """
    canonical = _ENCODER.encode(msgspec.json.decode(body))
    return hashlib.sha256(operation.encode() + b"\n" + canonical).hexdigest()
