"""Which dead letters may be put back, and which are left, and why."""

from collections.abc import Mapping

import msgspec

from services.shared.domain.dead_letter_table import Found
from services.shared.domain.topics import REQUEST_TOPICS


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked of a redrive.

    Attributes:
        again: Also what was redriven before.
        ended: Also what no request waits for any more.
        as_new_request: Under a new request id, so that it is answered anew.
    """

    again: bool = False
    ended: bool = False
    as_new_request: bool = False


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What there is to know of a dead letter beside itself.

    Attributes:
        is_named: It was named by its id.
        has_ended: All requests that it is about have ended.
        endings: How they have, for people.
        partitions: Number of partitions of every topic.
    """

    is_named: bool
    has_ended: bool
    endings: str
    partitions: Mapping[str, int]


class PutBack(msgspec.Struct, frozen=True):
    """It may be put back.

    Attributes:
        note: What whoever does it should know; empty = nothing.
    """

    note: str = ""


class Left(msgspec.Struct, frozen=True):
    """It is left where it is.

    Attributes:
        why: Why, and what can be done.
        is_refusal: Whether it was asked for by name, or by something it cannot have.
    """

    why: str
    is_refusal: bool


def judge(found: Found, wish: Wish, facts: Facts) -> PutBack | Left:
    """Decide on one dead letter."""
    why = _impossible(found, facts.partitions) or (
        _no_new_request(found) if wish.as_new_request else ""
    )
    if why:
        return Left(why, is_refusal=True)
    if found.marks and not wish.again:
        mark = found.marks[-1]
        why = f"was redriven already, to {mark.to}; --again does it once more"
        return Left(why, is_refusal=facts.is_named)
    if wish.as_new_request or not facts.has_ended:
        return PutBack()
    if facts.is_named or wish.ended:
        return PutBack(f"its requests have ended ({facts.endings}): there is no new answer to them")
    return Left(
        f"its requests have ended ({facts.endings}): nobody gets an answer any more, and a call "
        f"for it may be paid; --ended does it all the same{_or_anew(found)}",
        is_refusal=False,
    )


def _impossible(found: Found, partitions: Mapping[str, int]) -> str:
    letter = found.letter
    if letter.omitted_bytes >= 0:
        return (
            f"its value of {letter.omitted_bytes} bytes was too large to be kept; while its topic "
            f"keeps it, it is at {letter.origin}"
        )
    if letter.origin.partition >= partitions.get(letter.origin.topic, 0):
        return f"the cluster has no partition {letter.origin.partition} of {letter.origin.topic}"
    return ""


def _no_new_request(found: Found) -> str:
    if found.letter.origin.topic not in REQUEST_TOPICS:
        return "only what was read from a request topic can become a new request"
    if found.is_signed:
        return (
            "a gateway accepted it for a client of its own: as a new request it would run on the "
            "account of the Kafka producers; its client has its error, and may ask again"
        )
    if not found.is_readable:
        return "it cannot be decoded, so it cannot get another request id"
    return ""


def _or_anew(found: Found) -> str:
    return "" if _no_new_request(found) else ", --as-new-request asks anew"
