"""Train the semantic cache's verifier and write ``services/cache_lookup/semantic/verifier.json``.

    python scripts/train_verifier.py DATA --encoder FOLDER

DATA holds ``dev_stream.jsonl`` (rows with ``text``, ``intent``, ``source``). Only rows of Banking77
(CC BY 4.0) and CLINC150 (CC BY 3.0) are read. Pairs of one intent are right, close pairs of two are
wrong; edits made here (an inserted word, a courtesy, an article, a letter) are added. Pairs that a
guard objects to are left out, as the verifier is never asked about them. Gradient boosting on the
logistic loss, in numpy; nothing is drawn at random, so the same rows and vectors give the same
bytes. (Quantised vectors differ a little between kinds of processors.)
"""

import argparse
import asyncio
import hashlib
import importlib
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.cache_lookup.semantic.features import NAMES, features_of
from services.cache_lookup.semantic.guards import objection
from services.cache_lookup.semantic.vocabulary import FUNCTION_WORDS
from services.cache_lookup.semantic.wording import unfit

Floats = NDArray[np.float64]
Pair = tuple[str, str, float]
Encode = Callable[[Sequence[str]], NDArray[np.float32]]

SOURCES = ("banking77", "clinc150")
OUTPUT = Path(__file__).parents[1] / "services/cache_lookup/semantic/verifier.json"
TREES, DEPTH, RATE, LEAST_IN_LEAF, SHRINK = 80, 3, 0.1, 40, 5.0
NEIGHBOURS, LEAST_SIMILARITY, BINS = 40, 0.6, 48
LEAST_MISTYPED = 7
WRONG_WEIGHT = 3.0
"""A wrong hit is worse than a missed one."""


def texts_by_source(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, int]]:
    """Intent of each text to train on, by source."""
    found: dict[str, dict[str, int]] = {source: {} for source in SOURCES}
    for row in rows:
        text = " ".join(row["text"].split())
        if row["source"] not in found or row["kind"].startswith("trap") or unfit(row["text"], text):
            continue
        found[row["source"]][text] = row["intent"]
    return found


def natural_pairs(texts: dict[str, int], encode: Encode) -> Iterator[Pair]:
    """Close pairs of one source, right where the intent is one."""
    names = list(texts)
    vectors = encode(names)
    near = vectors @ vectors.T
    for index, name in enumerate(names):
        for place in np.argsort(-near[index], kind="stable")[: NEIGHBOURS + 1]:
            if place > index and near[index, place] >= LEAST_SIMILARITY:
                yield name, names[place], float(texts[name] == texts[names[place]])


def edited_pairs(texts: dict[str, int]) -> Iterator[Pair]:
    """Edits that change nothing, and a word of meaning more, which makes another question."""
    names = list(texts)
    words = sorted({word for name in names for word in _content(name)})
    for index, name in enumerate(names):
        courtesy = ("can you tell me ", "please, ", "i want to know ")[index % 3]
        yield name, courtesy + name, 1.0
        if " the " in name:
            yield name, name.replace(" the ", " ", 1), 1.0
        content = _content(name)
        longest = max(content, key=len, default="")
        if len(longest) >= LEAST_MISTYPED:
            place = name.lower().index(longest) + len(longest) // 2
            yield name, name[:place] + name[place + 1 :], 1.0
        if index % 2 or not content:
            continue
        place = name.lower().rindex(content[-1])
        word = words[int(hashlib.sha256(name.encode()).hexdigest(), 16) % len(words)]
        yield name, f"{name[:place]}{word} {name[place:]}", 0.0


def _content(text: str) -> list[str]:
    return [
        word
        for word in text.lower().replace("?", " ").split()
        if word.isalpha() and word not in FUNCTION_WORDS
    ]


def matrix(pairs: Sequence[Pair], encode: Encode) -> tuple[Floats, Floats]:
    """Features and labels of the pairs to which no guard objects."""
    kept = [pair for pair in dict.fromkeys(pairs) if objection(pair[0], pair[1]) is None]
    left, right = encode([pair[0] for pair in kept]), encode([pair[1] for pair in kept])
    similarity = np.round(np.einsum("ij,ij->i", left, right).astype(np.float64), 3)
    rows = [
        features_of(asked, cached, float(near))
        for (asked, cached, _), near in zip(kept, similarity, strict=True)
    ]
    return np.array(rows), np.array([pair[2] for pair in kept])


class Fit:
    """A boosted ensemble being grown on binned features."""

    def __init__(self, features: Floats, labels: Floats) -> None:
        self.labels = labels
        self.weights = np.where(labels > 0, 1.0, WRONG_WEIGHT)
        quantiles = np.linspace(0, 1, BINS + 1)[1:-1]
        self.edges = [np.unique(np.round(np.quantile(f, quantiles), 4)) for f in features.T]
        self.bins = np.stack(
            [
                np.searchsorted(e, f, side="left")
                for e, f in zip(self.edges, features.T, strict=True)
            ]
        )
        right, wrong = (self.weights[labels == label].sum() for label in (1.0, 0.0))
        self.bias = round(float(np.log(right / wrong)), 5)
        self.odds = np.full(len(labels), self.bias)

    def grow(self) -> dict[str, Any]:
        """Add one tree."""
        chance = 1 / (1 + np.exp(-self.odds))
        slope = self.weights * (self.labels - chance)
        curve = self.weights * chance * (1 - chance)
        node = np.zeros(len(slope), dtype=np.int64)
        feature: list[int] = []
        cut: list[float] = []
        for level in range(DEPTH):
            first = 2**level - 1
            for index in range(first, 2 * first + 1):
                here = node == index
                best, edge = self._split(here, slope, curve)
                feature.append(best)
                cut.append(float(self.edges[best][edge]))
                goes_right = here & (self.bins[best] > edge)
                node[here] = 2 * index + 1
                node[goes_right] = 2 * index + 2
        node -= 2**DEPTH - 1
        top = np.bincount(node, slope, 2**DEPTH)
        value = np.round(RATE * top / (np.bincount(node, curve, 2**DEPTH) + SHRINK), 5)
        self.odds += value[node]
        return {"feature": feature, "cut": cut, "value": value.tolist()}

    def _split(self, here: NDArray[np.bool_], slope: Floats, curve: Floats) -> tuple[int, int]:
        """The feature and edge that gain most; at no node are closer pairs taken for less alike."""
        best = (0.0, 0, 0)
        for index, edges in enumerate(self.edges):
            bins = self.bins[index][here]
            count = np.cumsum(np.bincount(bins, minlength=len(edges) + 1))[:-1]
            top = np.cumsum(np.bincount(bins, slope[here], len(edges) + 1))
            bottom = np.cumsum(np.bincount(bins, curve[here], len(edges) + 1))
            low, high = top[:-1], top[-1] - top[:-1]
            low_curve, high_curve = bottom[:-1] + SHRINK, bottom[-1] - bottom[:-1] + SHRINK
            gain = low**2 / low_curve + high**2 / high_curve
            gain -= top[-1] ** 2 / (bottom[-1] + SHRINK)
            gain[(count < LEAST_IN_LEAF) | (count > here.sum() - LEAST_IN_LEAF)] = 0.0
            if NAMES[index] == "similarity":
                gain[low / low_curve > high / high_curve] = 0.0
            edge = int(np.argmax(gain))
            if gain[edge] > best[0] + 1e-9:
                best = (float(gain[edge]), index, edge)
        return best[1], best[2]


def train(rows: Sequence[dict[str, Any]], encode: Encode) -> dict[str, Any]:
    """The ensemble, as it is written."""
    pairs: list[Pair] = []
    for texts in texts_by_source(rows).values():
        pairs += [*natural_pairs(texts, encode), *edited_pairs(texts)]
    features, labels = matrix(pairs, encode)
    fit = Fit(features, labels)
    trees = [fit.grow() for _ in range(TREES)]
    print(f"{len(labels)} pairs, {int(labels.sum())} of them right")
    return {"features": list(NAMES), "bias": fit.bias, "trees": trees, "scale": list(SCALE)}


SCALE = ((-4.0, 0.0), (0.0, 0.75), (2.4, 0.88), (5.0, 0.95), (7.0, 1.0))
"""Log-odds and the score that stands for them: .88, the default threshold, in its place."""


def shipped_encoder(folder: Path) -> Encode:
    """The encoder that the cache itself uses, with the vectors kept for the second asking."""
    encoder = importlib.import_module("services.shared.adapters.minilm.encoder").load_encoder(
        folder
    )
    known: dict[str, NDArray[np.float32]] = {}

    def encode(texts: Sequence[str]) -> NDArray[np.float32]:
        for text in dict.fromkeys(texts):
            if text not in known:  # one at a time: a batch may round otherwise
                known[text] = asyncio.run(encoder.encode([text]))[0]
        return np.stack([known[text] for text in texts])

    return encode


def main() -> None:
    """Train and write."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("data", type=Path)
    arguments.add_argument("--encoder", type=Path, required=True)
    given = arguments.parse_args()
    lines = (given.data / "dev_stream.jsonl").read_text().splitlines()
    model = train([json.loads(line) for line in lines], shipped_encoder(given.encoder))
    OUTPUT.write_text(json.dumps(model, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
