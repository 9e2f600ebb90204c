"""How far a gateway has read what it answers by, in words for operators. Pure."""


def said_of_claims(read_ratio: float, held: int) -> str:
    """How much of ``idempotency-keys`` is known; requests without a key do not depend on it.

    Args:
        read_ratio: Share of the last day's claims that was read back, 0..1; 1 = all are known.
        held: Keys whose holders are known.
    """
    if read_ratio < 1.0:
        return f"reading: {int(100 * read_ratio)} %; requests with a key are refused meanwhile"
    return f"read: {held} keys held"
