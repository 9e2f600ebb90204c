"""Which candidate is served."""

from services.cache_lookup.semantic.decide import Choice, choose
from services.cache_lookup.semantic.verifier import verifier_score
from services.shared.domain.events import AnswerCached, SemanticKey
from services.shared.ports.semantic_index import Near

ASKED = "How do I activate my card?"
SAME = "how can I activate my card"
OTHER = "How do I deactivate my card?"


def _near(text: str, similarity: float) -> Near:
    key = SemanticKey(scope="s", encoder="e", text=text, vector=b"")
    entry = AnswerCached(
        entry_id=text, tenant="t", model="m", operation="chat", fingerprint="f", semantic=key
    )
    return Near(entry, similarity)


def _choose(*nears: Near, threshold: float = 0.87) -> Choice:
    return choose(ASKED, nears, threshold=threshold, use_verifier=False)


def test_the_closest_that_no_guard_objects_to_is_served() -> None:
    """A closer question with the opposite meaning is passed over, and said to be."""
    close, same = _near(OTHER, 0.99), _near(SAME, 0.9)
    choice = _choose(close, same)
    assert choice.near is same
    assert choice.candidate is same
    assert choice.similarity == choice.score == 0.9
    assert choice.objections == ((OTHER, "antonym"),)


def test_below_the_threshold_the_candidate_is_named_and_nothing_is_served() -> None:
    """The candidate and its score are evidence for the controller."""
    same = _near(SAME, 0.86)
    choice = _choose(same)
    assert (choice.near, choice.candidate, choice.score) == (None, same, 0.86)


def test_where_all_are_vetoed_the_closest_is_named_with_score_zero() -> None:
    """A vetoed candidate is never served at any threshold."""
    close = _near(OTHER, 0.99)
    choice = _choose(_near(OTHER, 0.9), close, threshold=0.0)
    assert (choice.near, choice.candidate, choice.score) == (None, close, 0.0)
    assert choice.similarity == 0.99


def test_without_candidates_there_is_no_choice() -> None:
    """Entries without a question of their own are none."""
    entry = AnswerCached(entry_id="x", tenant="t", model="m", operation="chat", fingerprint="f")
    assert _choose(Near(entry, 1.0)) == _choose() == Choice()


def test_a_score_is_a_share() -> None:
    """Rounding of the vectors does not carry a score beyond 0 and 1."""
    assert _choose(_near(SAME, 1.0000002)).score == 1.0
    assert _choose(_near(SAME, -0.1)).score == 0.0


def test_the_verifier_scores_in_place_of_the_similarity() -> None:
    """At one similarity the like wording is chosen, with the verifier's score."""
    same, unlike = (
        _near(SAME, 0.85),
        _near("I lost something at the bank, what is to be done?", 0.85),
    )
    choice = choose(ASKED, [unlike, same], threshold=0.88, use_verifier=True)
    assert choice == choose(ASKED, [same, unlike], threshold=0.88, use_verifier=True)
    assert choice.candidate is same
    assert choice.similarity == 0.85
    assert choice.score == verifier_score(ASKED, SAME, 0.85)
