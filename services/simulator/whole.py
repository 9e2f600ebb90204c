"""Answers in one piece, and those broken on purpose."""

import zlib
from functools import lru_cache

import msgspec

from services.simulator.behaviour import FaultKind
from services.simulator.decide import Plan
from services.simulator.replies import Ending, Headers, Reply
from services.simulator.streaming import ENDINGS, broken_at, with_split_characters

_JSON: Headers = [(b"content-type", b"application/json")]
_GZIP = (b"content-encoding", b"gzip")
_BLOCK = b"\n" * 1_000_000
"""What a gzip bomb unpacks to: white space to JSON and to server-sent events alike."""


def json_reply(body: bytes, *, due_ms: float = 0.0, status: int = 200) -> Reply:
    """An answer in one piece that is as it should be."""
    return Reply(
        headers=_JSON,
        frames=((due_ms, body),),
        body_bytes=len(body),
        starts_ms=due_ms,
        status=status,
    )


def whole_reply(plan: Plan, body: bytes) -> Reply:
    """The answer of a plan in one piece, with the plan's faults.

    A fault at a token strikes at the same share of the body as the token has of the answer.
    """
    faults = plan.faults
    due_ms = plan.service_ms
    if FaultKind.BIG_CHUNK in faults:
        body = b" " * int(faults[FaultKind.BIG_CHUNK].argument) + body
    if FaultKind.BAD_JSON in faults:
        body = body[:-2]
    reply = json_reply(body, due_ms=due_ms)
    broken = broken_at(faults)
    if broken is not None:
        place, kind = broken
        kept = body[: len(body) * place // max(place + 1, plan.output_tokens)]
        reply = msgspec.structs.replace(
            reply,
            frames=((due_ms, kept),),
            body_bytes=None if kind is FaultKind.EOF else len(body),
            ending=ENDINGS[kind],
        )
    if FaultKind.SPLIT_UTF8 in faults:
        reply = msgspec.structs.replace(reply, frames=with_split_characters(iter(reply.frames)))
    return reply


@lru_cache(maxsize=4)
def _packed_blank(size_bytes: int) -> tuple[bytes, bytes, int]:
    """White space of a size as deflate blocks: the first, one of the others, and how many."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    # a full flush forgets what came before: all blocks but the header's are the same bytes
    block = packer.compress(_BLOCK) + packer.flush(zlib.Z_FULL_FLUSH)
    again = packer.compress(_BLOCK) + packer.flush(zlib.Z_FULL_FLUSH)
    return block, again, max(1, size_bytes // len(_BLOCK))


def gzip_bomb(body: bytes, size_bytes: int) -> bytes:
    """A gzip body that unpacks to ``size_bytes`` of white space, and then the answer."""
    first, again, blocks = _packed_blank(size_bytes)
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    tail = packer.compress(body) + packer.flush()
    checksum = 0
    for _ in range(blocks):
        checksum = zlib.crc32(_BLOCK, checksum)
    length = (blocks * len(_BLOCK) + len(body)) & 0xFFFF_FFFF
    trailer = zlib.crc32(body, checksum).to_bytes(4, "little") + length.to_bytes(4, "little")
    header = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\xff"
    return header + first + again * (blocks - 1) + tail + trailer


def bombed(reply: Reply, size_bytes: int) -> Reply:
    """The same answer behind a gzip bomb; a stream arrives at once."""
    body = gzip_bomb(b"".join(data for _, data in reply.frames), size_bytes)
    return msgspec.structs.replace(
        reply,
        headers=[*reply.headers, _GZIP],
        frames=((reply.starts_ms, body),),
        body_bytes=len(body),
        ending=Ending.COMPLETE,
    )
