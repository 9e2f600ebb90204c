"""A planned answer as frames of bytes in time, whole or broken on purpose.

Frames are made when they are due, so a stream that is held costs no more than its plan.
"""

from collections.abc import Iterator

import msgspec

from services.simulator.behaviour import FaultKind
from services.simulator.decide import Faults, Plan
from services.simulator.logprobs import logprobs_of
from services.simulator.replies import Ending, Frame, Headers, Reply
from services.simulator.stream_wire import DONE, StreamSyntax, stream_syntax
from services.simulator.wire import Identity, usage_of

_EVENT_STREAM: Headers = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
]
_SPLIT_MS = 5.0
"""Pause inside a split character: long enough that the halves arrive apart."""

_BIG_CHUNK_AT = 3
_encode = msgspec.json.Encoder().encode

ENDINGS = {
    FaultKind.CUT: Ending.RESET,
    FaultKind.EOF: Ending.EOF,
    FaultKind.ERROR: Ending.EOF,
    FaultKind.HANG: Ending.HANG,
}
"""How the faults that break an answer off end its connection."""


def broken_at(faults: Faults) -> tuple[int, FaultKind] | None:
    """Where (in tokens) an answer breaks off, and how; the earliest fault wins."""
    places = [
        (fault.argument, kind)
        for kind in ENDINGS
        if (fault := faults.get(kind)) is not None and isinstance(fault.argument, int)
    ]
    return min(places) if places else None


def _token_frames(plan: Plan, syntax: StreamSyntax, first_ms: float) -> Iterator[Frame]:
    """The chunks with text: token by token, all choices side by side."""
    streams = [
        (enumerate(output.tokens), choice, None if output.tool else plan.top_logprobs)
        for output, choice in zip(plan.outputs, syntax.choices, strict=True)
    ]
    due_ms = first_ms
    while streams:
        going = []
        for stream in streams:
            tokens, choice, top = stream
            place, token = next(tokens, (0, None))
            if token is not None:
                logprobs = None if top is None else logprobs_of((token,), top=top, start=place)
                yield due_ms, choice.chunk(_encode(token), _encode(logprobs))
                going.append(stream)
        streams = going
        due_ms += plan.ms_per_token


def _with_bad_json(frames: Iterator[Frame], place: int) -> Iterator[Frame]:
    for number, (due_ms, data) in enumerate(frames):
        yield due_ms, data[: len(data) // 2] + b"\n\n" if number == place else data


def _with_repeat(frames: Iterator[Frame], place: int) -> Iterator[Frame]:
    for number, frame in enumerate(frames):
        yield frame
        if number == place:
            yield frame


def _with_big_chunk(frames: Iterator[Frame], place: int, chunk: bytes) -> Iterator[Frame]:
    for number, frame in enumerate(frames):
        if number == place:
            yield frame[0], chunk
        yield frame


def split_inside_character(data: bytes) -> tuple[bytes, bytes] | None:
    """Cut bytes in the middle of their first character beyond ASCII; None = there is none."""
    for place, byte in enumerate(data):
        if byte & 0xC0 == 0x80:
            return data[:place], data[place:]
    return None


def with_split_characters(frames: Iterator[Frame]) -> Iterator[Frame]:
    """Send each first character beyond ASCII of a frame in two halves."""
    now_ms = 0.0
    for due_ms, data in frames:
        now_ms = max(now_ms, due_ms)
        halves = None if data.isascii() else split_inside_character(data)
        if halves is None:
            yield now_ms, data
        else:
            yield now_ms, halves[0]
            now_ms += _SPLIT_MS
            yield now_ms, halves[1]


def _tokens_with_faults(plan: Plan, syntax: StreamSyntax, first_ms: float) -> Iterator[Frame]:
    """The chunks with text; a fault at a chunk beyond the last one strikes the last one."""
    frames = _token_frames(plan, syntax, first_ms)
    faults = plan.faults
    last = plan.output_tokens - 1
    if FaultKind.BAD_JSON in faults:
        frames = _with_bad_json(frames, min(last, int(faults[FaultKind.BAD_JSON].argument)))
    if FaultKind.DUP_CHUNK in faults:
        frames = _with_repeat(frames, min(last, int(faults[FaultKind.DUP_CHUNK].argument)))
    if FaultKind.BIG_CHUNK in faults:
        text = b'"' + b"x" * int(faults[FaultKind.BIG_CHUNK].argument) + b'"'
        chunk = syntax.choices[0].chunk(text)
        frames = _with_big_chunk(frames, min(last, _BIG_CHUNK_AT), chunk)
    return frames


def _frames(plan: Plan, syntax: StreamSyntax) -> Iterator[Frame]:
    due_ms = plan.work_ms + plan.ttft_ms
    for choice in syntax.choices:
        if choice.opening:
            yield due_ms, choice.opening
    tokens = _tokens_with_faults(plan, syntax, due_ms)
    broken = broken_at(plan.faults)
    for number, frame in enumerate(tokens):
        if broken is not None and number == broken[0]:
            break
        due_ms = frame[0]
        yield frame
    if broken is None:
        yield due_ms, b"".join(_closing(plan, syntax))
    elif broken[1] is FaultKind.ERROR:
        yield due_ms, syntax.error


def _closing(plan: Plan, syntax: StreamSyntax) -> Iterator[bytes]:
    """What follows the last token of a whole stream."""
    yield from (choice.closing for choice in syntax.choices)
    if FaultKind.AFTER_END in plan.faults:
        yield syntax.choices[0].chunk(b'" and more"')
    if syntax.usage and FaultKind.NO_USAGE not in plan.faults:
        yield syntax.usage
    yield DONE


def streamed_reply(plan: Plan, identity: Identity, *, include_usage: bool) -> Reply:
    """The streamed answer of a plan."""
    usage = usage_of(plan) if include_usage else None
    frames = _frames(plan, stream_syntax(plan.outputs, identity, usage))
    if FaultKind.SPLIT_UTF8 in plan.faults:
        frames = with_split_characters(frames)
    broken = broken_at(plan.faults)
    return Reply(
        headers=_EVENT_STREAM,
        frames=frames,
        body_bytes=None,
        starts_ms=plan.work_ms,
        ending=Ending.COMPLETE if broken is None else ENDINGS[broken[1]],
    )
