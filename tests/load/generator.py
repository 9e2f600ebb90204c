"""The generator, a process of its own: ``python -m tests.load.generator``.

It reads a plan (JSON, one line) from stdin, prepares, says ``ready``, begins at the next line, and
prints what came of it. So whoever started it can look at the servers' CPU at the right moments.
"""

import asyncio
import gc
import sys
import time

import msgspec
import uvloop

from tests.load.load import Load
from tests.load.plan import Outcome, Plan


async def generate(plan: Plan) -> Outcome:
    """Carry out a plan."""
    load = Load(plan)
    await load.connect()
    gc.collect()
    gc.freeze()
    print("ready", flush=True)
    if not await asyncio.to_thread(sys.stdin.readline):
        sys.exit("nobody waits for the result")
    began_at = time.time_ns() // 1_000_000
    cpu_s = time.process_time()
    took_s = await load.run()
    tally = load.tally
    return Outcome(
        began_at=began_at,
        took_s=took_s,
        window_s=min(plan.duration_s, took_s),
        sent=load.sent,
        answered=tally.answered,
        in_window=tally.in_window,
        most_open=load.most_open,
        connections=load.connections,
        latency=tally.latency.summary(),
        first_token=tally.first_token.summary(),
        token_gap=tally.gaps.summary(),
        lateness=tally.lateness.summary(),
        errors=dict(tally.errors),
        examples=tally.examples,
        cache=dict(tally.cache),
        events=tally.events,
        generator_cpu_s=time.process_time() - cpu_s,
    )


def main() -> None:
    """Run."""
    plan = msgspec.json.decode(sys.stdin.readline(), type=Plan)
    outcome = uvloop.run(generate(plan))
    print(msgspec.json.encode(outcome).decode(), flush=True)


if __name__ == "__main__":
    main()
