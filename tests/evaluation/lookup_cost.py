"""Measures what a request's look-up costs in both tiers of the cache, in this process.

    python -m tests.evaluation.lookup_cost [--seed 1] [--rounds 5] [--entries 1000 10000 100000]

The exact tier is the look-up's own processor with a real Redis, the semantic tier its own
``SemanticTier`` with the real encoder and the embedded index; nothing is read from Kafka or written
to it. CPU is that of all threads of this process for one request; Redis, another process, is not
in it. Times are those of a look-up, so of all sixteen where sixteen are looked up at once.

Questions are made (``tests.support.questions``): half of them have no near entry but by chance, a
quarter are entries in other words, a quarter differ from one in one thing, so that guards have
work. All entries are in one scope. The first 2,000 have the real encoder's vectors; each of the
others is one of those with one thing altered, and a vector turned by 15 to 40 degrees in a random
direction. The environment is that of the local stack's processes.
"""

import argparse
import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice

import psutil
import uvloop

from services.cli.local_stack.environment import python_environment
from services.shared.adapters.environment import process_environment
from services.shared.adapters.minilm.encoder import MiniLmEncoder, load_encoder
from services.shared.adapters.minilm.pinned import encoder_folder
from services.shared.adapters.redis_response_cache import RedisResponseCache, connected_redis
from services.shared.domain.events import InferenceRequested
from services.shared.stream.collector import settle_garbage_collector
from tests.evaluation import lookup_tiers as tiers
from tests.evaluation.lookup_entries import Asking, Entries
from tests.evaluation.stopwatch import WHOLE, Stopwatch
from tests.support.redis_server import redis_server

_RUNS = {1: 100, 16: 20}
"""Look-ups of a round, by how many requests are looked up at once."""

_ASKED_NEAR = 1_000
"""Entries near which questions are asked: the first, which are in every index."""

_WRITING_S = 5.0
_MODULE = "tests.evaluation.lookup_cost"
_BLAS_THREADS = "OPENBLAS_NUM_THREADS"
_EXACT_PARTS = (tiers.ROUND_TRIP, tiers.AROUND, WHOLE)
_SEMANTIC_PARTS = (
    tiers.KEY, tiers.ENCODING, tiers.SEARCH, tiers.CHOICE, tiers.BODY, WHOLE
)  # fmt: skip


class Measured:
    """Look-ups of one kind.

    Attributes:
        watches: By how many requests were looked up at once.
        outcomes: What came of the requests.
    """

    def __init__(self, look_up: tiers.LookUp, requests: Iterator[InferenceRequested]) -> None:
        """Know of none.

        Args:
            look_up: What is measured.
            requests: What is looked up.
        """
        self._look_up = look_up
        self._requests = requests
        self.watches = {together: Stopwatch() for together in _RUNS}
        self.outcomes: Counter[str] = Counter()

    async def warm_up(self) -> None:
        """Do everything once that is slower the first time."""
        for together in _RUNS:
            await self._look_up(list(islice(self._requests, together)), Stopwatch())

    async def round(self) -> None:
        """Look up."""
        for together, runs in _RUNS.items():
            for _ in range(runs):
                requests = list(islice(self._requests, together))
                self.outcomes.update(await self._look_up(requests, self.watches[together]))


async def measure(*, seed: int, rounds: int, sizes: Sequence[int], redis_url: str) -> None:
    """Measure in rounds, as a machine's speed wanders, and print the tables."""
    encoder = load_encoder(encoder_folder(process_environment()))
    asking = Asking(seed)
    entries = Entries(asking, max(sizes))
    async with connected_redis(redis_url) as redis:
        await entries.write(RedisResponseCache(redis, clock=tiers.CLOCK, timeout_s=_WRITING_S))
        await entries.encode(encoder, seed)
        cache = tiers.WatchedCache(RedisResponseCache(redis, clock=tiers.CLOCK))
        exact = _exact(asking, entries, cache)
        semantic = await _semantic(asking, entries, cache, encoder, sizes)
        settle_garbage_collector()
        for it in (*exact.values(), *semantic.values()):
            await it.warm_up()
        for _ in range(rounds):
            for it in (*exact.values(), *semantic.values()):
                await it.round()
    _tell_how(encoder, seed=seed, rounds=rounds)
    for together in _RUNS:
        _table(f"Exact tier, {_times(together)}", exact, together, _EXACT_PARTS)
    for together in _RUNS:
        _table(f"Semantic tier, {_times(together)}", semantic, together, _SEMANTIC_PARTS)
    for name, it in semantic.items():
        print(f"{name}: {_shares(it.outcomes)}")


def _exact(asking: Asking, entries: Entries, cache: tiers.WatchedCache) -> dict[str, Measured]:
    repeats = (asking.repeat(asking.dice.choice(entries.requests)) for _ in iter(int, 1))
    return {
        "hit": Measured(tiers.ExactTier(cache).look_up, repeats),
        "miss": Measured(tiers.ExactTier(cache).look_up, asking.news()),
    }


async def _semantic(
    asking: Asking,
    entries: Entries,
    cache: tiers.WatchedCache,
    encoder: MiniLmEncoder,
    sizes: Sequence[int],
) -> dict[str, Measured]:
    """A tier over the first entries, for each number of them."""
    measured = {}
    for size in sizes:
        index = tiers.WatchedIndex(max_entries=size)
        await index.put(entries.cached[:size])
        tier = tiers.ComparingTier(tiers.WatchedEncoder(encoder), index, cache)
        requests = asking.near(entries.asked[:_ASKED_NEAR])
        measured[f"{size:,} entries"] = Measured(tier.look_up, requests)
    return measured


def _tell_how(encoder: MiniLmEncoder, *, seed: int, rounds: int) -> None:
    runs = ", ".join(f"{runs} of {together}" for together, runs in _RUNS.items())
    print(
        f"seed {seed}, {rounds} rounds of look-ups: {runs}; encoder {encoder.build} (int8 is ONNX "
        f"Runtime's, fp32 numpy's); one thread encodes, {os.environ[_BLAS_THREADS]} multiplies; "
        f"{psutil.Process().num_threads()} threads in all, {os.cpu_count()} cores, load "
        f"{os.getloadavg()[0]:.1f}"
    )


def _table(title: str, columns: dict[str, Measured], together: int, parts: Sequence[str]) -> None:
    print(f"\n{title}\n{'':28}" + "".join(f"{name:>32}" for name in columns))
    print(f"{'':28}" + f"{'CPU µs/request':>16}{'p50 ms':>8}{'p99 ms':>8}" * len(columns))
    for part in parts:
        cells = []
        for measured in columns.values():
            watch = measured.watches[together]
            half, most = watch.wall_ms(part, (50, 99))
            cells.append(f"{watch.cpu_us(part):16,.0f}{half:8.2f}{most:8.2f}")
        print(f"{part:28}" + "".join(cells))


def _times(together: int) -> str:
    return "one request at a time" if together == 1 else f"{together} at once"


def _shares(outcomes: Counter[str]) -> str:
    total = max(1, outcomes.total())
    return ", ".join(f"{name} {number / total:.1%}" for name, number in outcomes.most_common())


def main() -> None:
    """Start a Redis and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--entries", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    chosen = parser.parse_args()
    environ = {**os.environ, **python_environment(os.environ)}
    if environ != dict(os.environ):  # numpy and the allocator read it as they start
        arguments = [sys.executable, "-m", _MODULE, *sys.argv[1:]]
        os.execve(sys.executable, arguments, environ)  # noqa: S606  # no shell is wanted
    with redis_server() as server:
        uvloop.run(
            measure(
                seed=chosen.seed,
                rounds=chosen.rounds,
                sizes=chosen.entries,
                redis_url=server.url,
            )
        )


if __name__ == "__main__":
    main()
