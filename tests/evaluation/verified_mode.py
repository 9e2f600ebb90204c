"""Judges the controllers of the verified mode on a labelled stream, seed by seed.

    MILLRACE_EVALUATION_DATA=FOLDER .venv/bin/python -m tests.evaluation.verified_mode --seeds 20

FOLDER has ``semantic-cache/dev_stream.jsonl`` and its judge ``evaluate.py``, whose own loop runs
the stream. A hit that is asked again is answered by its ``right``, a few requests later. A seed
draws the re-asks and, with ``--shuffle``, the order of the stream.
"""

import argparse
import asyncio
import importlib
import importlib.util
import json
import random
import time
from collections import defaultdict, deque
from collections.abc import Sequence
from functools import cache
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.cache_lookup.semantic.decide import score_of
from services.cache_lookup.semantic.guards import objection
from services.cache_lookup.verified.controller import Controller
from services.shared.adapters.environment import process_environment
from services.shared.domain.verified import LEAST_SCORE

_NEAREST = 5
_LATE = 5
"""Requests that come between a re-ask and its answer."""

_FEWEST = 100
"""Queries of a tenant from which on his own share of errors is told."""

Row = dict[str, Any]
Scope = tuple[str, str, str, str]
Neighbours = dict[int, list[tuple[int, float]]]


class Setting(NamedTuple):
    """How a cache is judged."""

    most_wrong: float
    label_noise: float
    seed: int
    uses_guards: bool


class VerifiedCache:
    """The cache of all tenants, as the judge wants it.

    Attributes:
        last_candidate: Candidate of the last miss; None = none that could ever be served.
        asked_again: Number of hits that were asked again.
    """

    def __init__(self, rows: Sequence[Row], neighbours: Neighbours, setting: Setting) -> None:
        """Start empty."""
        self._rows = {row["id"]: row for row in rows}
        self._neighbours = neighbours
        self._setting = setting
        self._draws = random.Random(setting.seed)
        self._controllers: dict[str, Controller] = {}
        self._entries: dict[Scope, set[int]] = defaultdict(set)
        self._score = 0.0
        self._waiting: deque[tuple[Controller, int, float, bool, float]] = deque()
        self._served: tuple[Controller, int, float, float] | None = None
        self.last_candidate: int | None = None
        self.asked_again = 0

    def decide(self, query: Row) -> int | None:
        """The entry that is served; None = a miss."""
        controller = self._controller(query["tenant"])
        scope = scope_of(query)
        self.last_candidate, self._score = self._best(query, self._entries[scope])
        self._served = None
        entry = self.last_candidate
        if entry is None or self._score < LEAST_SCORE:
            self.last_candidate = None
            controller.saw_none(1)
        elif controller.serves(str(entry), self._score):
            if self._draws.random() < controller.share:
                self._served = (controller, entry, self._score, 1 / controller.share)
            return entry
        self._entries[scope].add(query["id"])
        return None

    def feedback(self, query: Row, candidate: int, correct: bool) -> None:  # noqa: FBT001  # judge's
        """Learn from a miss."""
        self._controller(query["tenant"]).judged(
            str(candidate), score=self._score, is_right=correct, was_served=False, weight=1.0
        )

    def confirm(self, *, is_right: bool) -> None:
        """Ask again about the hit that was just served, where it was drawn."""
        if self._served is not None:
            controller, entry, score, weight = self._served
            if self._draws.random() < self._setting.label_noise:
                is_right = not is_right
            self._waiting.append((controller, entry, score, is_right, weight))
            self.asked_again += 1
            self._served = None
        if len(self._waiting) > _LATE:
            controller, entry, score, is_right, weight = self._waiting.popleft()
            controller.judged(
                str(entry), score=score, is_right=is_right, was_served=True, weight=weight
            )

    def _controller(self, tenant: str) -> Controller:
        if tenant not in self._controllers:
            self._controllers[tenant] = Controller(most_wrong=self._setting.most_wrong)
        return self._controllers[tenant]

    def _best(self, query: Row, entries: set[int]) -> tuple[int | None, float]:
        best: tuple[int | None, float] = (None, 0.0)
        near = (pair for pair in self._neighbours[query["id"]] if pair[0] in entries)
        for entry, similarity in islice(near, _NEAREST):
            text = self._rows[entry]["text"]
            if not (self._setting.uses_guards and is_objected(query["text"], text)):
                score = score_of(query["text"], text, similarity, use_verifier=False)
                best = max(best, (entry, score), key=lambda pair: pair[1])
        return best


def neighbours_of(rows: Sequence[Row], vectors: NDArray[np.float32]) -> Neighbours:
    """Rows of each row's scope that could ever be served to it, the closest first."""
    scopes: dict[Scope, list[int]] = defaultdict(list)
    for number, row in enumerate(rows):
        scopes[scope_of(row)].append(number)
    found: Neighbours = {}
    for numbers in scopes.values():
        similarities = vectors[numbers] @ vectors[numbers].T
        for own, line in zip(numbers, similarities, strict=True):
            order = [it for it in np.argsort(-line) if line[it] >= LEAST_SCORE]
            found[rows[own]["id"]] = [
                (rows[numbers[it]]["id"], float(line[it])) for it in order if numbers[it] != own
            ]
    return found


def scope_of(row: Row) -> Scope:
    """All that has to be equal."""
    return (row["tenant"], row["model"], row["sys"], json.dumps(row.get("history", [])))


@cache
def is_objected(asked: str, cached: str) -> bool:
    """Whether a guard objects."""
    return objection(asked, cached) is not None


_current: list[VerifiedCache] = []


def make() -> VerifiedCache:
    """The cache that is judged now."""
    return _current[-1]


def run(judge: ModuleType, rows: Sequence[Row], tried: VerifiedCache, setting: Setting) -> Row:
    """Let the judge's loop run one seed; its summary of all, and of each tenant."""
    _current.append(tried)
    options = argparse.Namespace(
        callable="tests.evaluation.verified_mode:make",
        seed=setting.seed,
        label_noise=setting.label_noise,
    )
    judged = []
    for row, (is_hit, is_right, _) in zip(rows, judge.run_callable(rows, options), strict=True):
        tried.confirm(is_right=is_right)
        judged.append({"tenant": row["tenant"], "hit": is_hit, "right": is_right, "could": False})
    by_tenant = defaultdict(list)
    for it in judged:
        by_tenant[it["tenant"]].append(it)
    return {
        "all": judge.summarise(judged),
        "tenants": {name: judge.summarise(them) for name, them in by_tenant.items()},
        "asked_again": tried.asked_again / len(judged),
    }


def vectors_of(rows: Sequence[Row], file: Path | None) -> NDArray[np.float32]:
    """Vectors of the texts: from a file, or by the encoder, and then into that file."""
    if file is not None and file.exists():
        kept: NDArray[np.float32] = np.load(file)
        return kept
    from services.shared.adapters.minilm.encoder import load_encoder  # noqa: PLC0415
    from services.shared.adapters.minilm.pinned import encoder_folder  # noqa: PLC0415

    encoder = load_encoder(encoder_folder(process_environment()))
    texts = [row["text"] for row in rows]
    vectors = asyncio.run(encoder.encode(texts))
    if file is not None:
        np.save(file, vectors)
    return vectors


def main() -> None:
    """Print one line for each bound and kind of run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--most-wrong", type=float, nargs="+", default=[0.02, 0.01])
    parser.add_argument("--label-noise", type=float, default=0.0)
    parser.add_argument("--shuffle", action="store_true")
    parser.add_argument("--no-guards", action="store_true")
    parser.add_argument("--vectors", type=Path, help="Keeps the texts' vectors (.npy).")
    chosen = parser.parse_args()
    folder = Path(process_environment()["MILLRACE_EVALUATION_DATA"]) / "semantic-cache"
    judge = _judge(folder / "evaluate.py")
    rows: list[Row] = judge.load(folder / "dev_stream.jsonl")
    neighbours = neighbours_of(rows, vectors_of(rows, chosen.vectors))
    for most_wrong in chosen.most_wrong:
        began = time.process_time()
        runs = []
        for seed in range(chosen.seeds):
            setting = Setting(most_wrong, chosen.label_noise, seed, not chosen.no_guards)
            ordered = list(rows)
            if chosen.shuffle:
                random.Random(seed).shuffle(ordered)
            runs.append(run(judge, ordered, VerifiedCache(rows, neighbours, setting), setting))
        _tell(runs, most_wrong, seconds=time.process_time() - began)


def _tell(runs: Sequence[Row], most_wrong: float, *, seconds: float) -> None:
    shares = [
        it["error_rate"]
        for found in runs
        for it in found["tenants"].values()
        if it["queries"] >= _FEWEST
    ]
    errors = [found["all"]["error_rate"] for found in runs]
    print(  # a command
        f"bound {most_wrong:.1%}: hit {np.mean([it['all']['hit_rate'] for it in runs]):.2%}"
        f", error mean {np.mean(errors):.2%}, worst run {max(errors):.2%}"
        f", worst tenant-run {max(shares):.2%}"
        f", over the bound {sum(it > most_wrong for it in shares)} of {len(shares)}"
        f", asked again {np.mean([it['asked_again'] for it in runs]):.3f} a query"
        f", {seconds:.0f} s of CPU",
        flush=True,
    )


def _judge(file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("evaluate", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    # The judge imports this module by its name: what it makes has to be of the same module.
    importlib.import_module("tests.evaluation.verified_mode").main()
