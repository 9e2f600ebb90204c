"""Ridge regression on n-grams: the weights that the classifier's learned part consists of.

A text is a sparse row: each n-gram it holds with its weight and, as a common one tells less, its
inverse document frequency. The normal equations are solved by conjugate gradients, which needs the
rows only as they are. All sums are made one after another, so equal input gives equal bits.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from math import log

import msgspec
import numpy as np
from numpy.typing import NDArray

from services.shared.domain.complexity.classifier import gram_weight, norm
from services.shared.domain.complexity.cues import grams_of

Floats = NDArray[np.float64]

_ITERATIONS = 40
_TOLERANCE = 1e-4


class Sparse(msgspec.Struct, frozen=True):
    """Texts as rows of a sparse matrix.

    Attributes:
        names: The n-gram of each column.
        scales: Inverse document frequency of each column, 1 on average.
        rows: Row of each entry.
        columns: Column of each entry.
        values: The entries.
        count: Number of rows.
    """

    names: tuple[str, ...]
    scales: Floats
    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    values: Floats
    count: int

    def times(self, weights: Floats) -> Floats:
        """The product with a column of weights."""
        products = self.values * weights[self.columns]
        return np.bincount(self.rows, weights=products, minlength=self.count).astype(np.float64)

    def transposed_times(self, amounts: Floats) -> Floats:
        """The product of the transposed matrix with one amount a row."""
        products = self.values * amounts[self.rows]
        sums = np.bincount(self.columns, weights=products, minlength=len(self.names))
        return sums.astype(np.float64)


def sparse_rows(texts: Sequence[str], *, least_documents: int, most_names: int) -> Sparse:
    """Texts as rows.

    Args:
        texts: The texts.
        least_documents: Texts that an n-gram must occur in to be a column.
        most_names: Columns at most: those that occur in the most texts.
    """
    counted = [grams_of(text) for text in texts]
    documents: Counter[str] = Counter()
    for _, grams in counted:
        documents.update(grams.keys())
    frequent = sorted(
        (name for name, count in documents.items() if count >= least_documents),
        key=lambda name: (-documents[name], name),
    )
    names = sorted(frequent[:most_names])
    scales = np.array([1 + log((1 + len(texts)) / (1 + documents[name])) for name in names])
    scales /= scales.mean() if names else 1
    return _rows(counted, {name: column for column, name in enumerate(names)}, scales)


def solve(matrix: Sparse, targets: Floats, importance: Floats, *, penalty: float) -> Floats:
    """The weights that meet the targets best and are small.

    Args:
        matrix: One text a row.
        targets: What the product should be, one a row.
        importance: How much each row counts; 0 = not at all.
        penalty: Weight of the squared weights against the squared errors.
    """
    weights = np.zeros(len(matrix.names))
    residual = matrix.transposed_times(importance * targets)
    direction = residual.copy()
    power = first = float(np.sum(residual * residual))
    for _ in range(_ITERATIONS):
        if power <= _TOLERANCE * _TOLERANCE * first:
            break
        image = matrix.transposed_times(importance * matrix.times(direction))
        image += penalty * direction
        step = power / float(np.sum(direction * image))
        weights += step * direction
        residual -= step * image
        previous, power = power, float(np.sum(residual * residual))
        direction = residual + power / previous * direction
    return weights


def _rows(
    counted: Sequence[tuple[int, Mapping[str, int]]], columns: Mapping[str, int], scales: Floats
) -> Sparse:
    rows: list[int] = []
    places: list[int] = []
    values: list[float] = []
    for row, (words, grams) in enumerate(counted):
        known = sorted(columns[name] for name in grams.keys() & columns.keys())
        names = {columns[name]: count for name, count in grams.items() if name in columns}
        rows += [row] * len(known)
        places += known
        values += [gram_weight(names[column]) / norm(words) for column in known]
    at = np.array(places, dtype=np.int64)
    return Sparse(
        names=tuple(columns),
        scales=scales,
        rows=np.array(rows, dtype=np.int64),
        columns=at,
        values=np.array(values, dtype=np.float64) * scales[at],
        count=len(counted),
    )
