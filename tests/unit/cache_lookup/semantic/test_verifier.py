"""The verifier's arithmetic, and the weights that ship."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.cache_lookup.semantic.features import NAMES, features_of
from services.cache_lookup.semantic.verifier import (
    VERIFIER,
    Tree,
    Verifier,
    log_odds,
    scaled,
    verifier_score,
)

STUMP = Tree(feature=(0,), cut=(0.5,), value=(-1.0, 2.0))


@pytest.mark.parametrize(("similarity", "odds"), [(0.5, -0.75), (0.51, 2.25)])
def test_a_tree_goes_left_up_to_the_cut(similarity: float, odds: float) -> None:
    """The bias and what the leaves say add up."""
    verifier = Verifier(features=("similarity",), bias=0.25, trees=(STUMP,), scale=())
    assert log_odds(verifier, (similarity,)) == odds


@pytest.mark.parametrize(
    ("odds", "score"), [(-9.0, 0.0), (0.0, 0.0), (1.0, 0.25), (2.0, 0.5), (9.0, 1.0)]
)
def test_scores_are_linear_between_the_points(odds: float, score: float) -> None:
    """And bounded beyond the ends."""
    assert scaled(odds, ((0.0, 0.0), (2.0, 0.5), (4.0, 1.0))) == score


@given(st.text(max_size=60), st.text(max_size=60), st.floats(-1, 1))
def test_score_is_a_share_and_symmetric(asked: str, cached: str, similarity: float) -> None:
    """Whatever the texts are."""
    score = verifier_score(asked, cached, similarity)
    assert 0.0 <= score <= 1.0
    assert features_of(asked, cached, similarity) == features_of(cached, asked, similarity)


def test_identical_meaning_is_surer_than_none() -> None:
    """It shows damaged weights."""
    asked = "How do I activate my card?"
    assert verifier_score(asked, "Where do I find the nearest branch?", 0.6) < 0.8
    assert verifier_score(asked, "What do I do to activate a card?", 0.95) > 0.88


def test_shipped_trees_are_whole() -> None:
    """Every tree has a value for every leaf, and looks at features that there are."""
    for tree in VERIFIER.trees:
        assert len(tree.value) == len(tree.feature) + 1 == len(tree.cut) + 1
        assert max(tree.feature) < len(NAMES)
