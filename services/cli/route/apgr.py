"""How good a router is: quality gained over the share of calls that go to the strong model.

APGR and CPT as Ong et al. define them ("RouteLLM: Learning to Route LLMs with Preference Data",
2024): the area between the curve and the weak model's line, over the gap between both models, where
a random router has .5; and the share of strong calls that recovers a part of the gap.
"""

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

_STEPS = 10


class Judgement(msgspec.Struct, frozen=True):
    """How good a router is.

    Attributes:
        apgr: Average performance gap recovered; random = .5.
        cpt50: Share of strong calls that recovers half of the gap.
        cpt80: Share of strong calls that recovers four fifths of it.
    """

    apgr: float
    cpt50: float
    cpt80: float


def judge(scores: ArrayLike, weak: ArrayLike, strong: ArrayLike) -> Judgement | None:
    """Judge scores; None where the strong model is no better, so there is nothing to gain.

    Equal scores share the calls in proportion.

    Args:
        scores: How hard each request looks.
        weak: How good the weak model's answer was, 0..1.
        strong: How good the strong model's answer was, 0..1.
    """
    low, high = np.asarray(weak, dtype=float), np.asarray(strong, dtype=float)
    gap = float(high.mean() - low.mean()) if low.size else 0.0
    if gap < 1e-9:
        return None
    gained = _curve(np.asarray(scores, dtype=float), high - low) / gap
    area = float(np.sum((gained[1:] + gained[:-1]) / 2) / _STEPS)
    return Judgement(apgr=area, cpt50=_first_share(gained, 0.5), cpt80=_first_share(gained, 0.8))


def _curve(scores: NDArray[np.float64], gains: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean gain at 0, 10, .. 100 % of strong calls."""
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    ends = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1], True])
    total = np.r_[0.0, np.cumsum(gains[order])]
    grid = np.linspace(0, 1, _STEPS + 1)
    curve: NDArray[np.float64] = np.interp(grid, ends / len(scores), total[ends] / len(scores))
    return curve


def _first_share(gained: NDArray[np.float64], wanted: float) -> float:
    step = int(np.argmax(gained >= wanted - 1e-12))
    if step == 0:
        return 0.0
    before, after = gained[step - 1], gained[step]
    return float((step - 1 + (wanted - before) / (after - before)) / _STEPS)
