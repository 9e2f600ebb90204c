"""What callers let the cache do, by body, by headers and by both."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.shared.domain.admission.cache_policy import (
    ANY_AGE_S,
    body_cache_policy,
    declared_policy_error,
    joined,
    merge_cache_policy,
)
from services.shared.domain.admission.limits import MAX_CACHE_AGE_S
from services.shared.domain.errors import PublicError
from services.shared.domain.events import CachePolicy

NOTHING = CachePolicy()


@pytest.mark.parametrize(
    ("cache", "expected"),
    [
        pytest.param(None, NOTHING, id="null"),
        pytest.param({}, NOTHING, id="empty"),
        pytest.param({"no-cache": True}, CachePolicy(no_cache=True), id="no-cache"),
        pytest.param({"no-cache": False, "ttl": None}, NOTHING, id="said-but-not-set"),
        pytest.param({"no-store": True}, CachePolicy(no_store=True), id="no-store"),
        pytest.param({"ttl": 60}, CachePolicy(max_age_s=60), id="ttl"),
        pytest.param({"max-age": 60, "s-maxage": 5}, CachePolicy(max_age_s=5), id="least-age"),
        pytest.param({"ttl": 0}, CachePolicy(no_cache=True, max_age_s=0), id="age-0-is-no-cache"),
        pytest.param(
            {"namespace": "a.b:c_d-1"}, CachePolicy(namespace="a.b:c_d-1"), id="namespace"
        ),
        pytest.param({"no-semantic": True}, CachePolicy(no_semantic=True), id="no-semantic"),
        pytest.param({"min-similarity": 1}, CachePolicy(min_similarity=1.0), id="min-similarity"),
    ],
)
def test_the_cache_object_of_a_body_is_read(
    cache: dict[str, object] | None, expected: CachePolicy
) -> None:
    """Each control says what it says; the strictest age counts."""
    assert body_cache_policy({"cache": cache}) == expected


def test_a_body_without_controls_says_nothing() -> None:
    """No controls are the default policy."""
    assert body_cache_policy({}) == NOTHING


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        pytest.param({}, NOTHING, id="none"),
        pytest.param({"cache-control": ""}, NOTHING, id="empty"),
        pytest.param({"cache-control": "no-cache"}, CachePolicy(no_cache=True), id="no-cache"),
        pytest.param({"cache-control": "No-Store"}, CachePolicy(no_store=True), id="any-case"),
        pytest.param(
            {"cache-control": "no-transform, max-stale=5,, max-age=30 , max-age=10"},
            CachePolicy(max_age_s=10),
            id="unknown-directives-and-the-least-age",
        ),
        pytest.param({"cache-control": 'max-age="7"'}, CachePolicy(max_age_s=7), id="quoted"),
        pytest.param(
            {"cache-control": "max-age=0"}, CachePolicy(no_cache=True, max_age_s=0), id="age-0"
        ),
        pytest.param(
            {"x-millrace-cache-namespace": " blue "}, CachePolicy(namespace="blue"), id="namespace"
        ),
        pytest.param(
            {"cache-control": "no-semantic"}, CachePolicy(no_semantic=True), id="no-semantic"
        ),
        pytest.param(
            {"cache-control": "min-similarity=.9, min-similarity=0.975"},
            CachePolicy(min_similarity=0.975),
            id="the-highest-similarity",
        ),
        pytest.param(
            {"cache-control": 'min-similarity="1.0"'}, CachePolicy(min_similarity=1.0), id="one"
        ),
    ],
)
def test_headers_are_read(headers: dict[str, str], expected: CachePolicy) -> None:
    """``Cache-Control`` is read as RFC 9111 has it; the namespace has a header of its own."""
    assert merge_cache_policy(NOTHING, headers) == expected


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("cache-control", "max-age=-1"),
        ("cache-control", "max-age=1000000000000"),
        ("cache-control", f"max-age={MAX_CACHE_AGE_S + 1}"),
        ("cache-control", "max-age"),
        ("cache-control", "max-age=10, max-age=soon"),
        ("cache-control", "max-age=\u0661"),
        ("cache-control", "min-similarity"),
        ("cache-control", "min-similarity=1.01"),
        ("cache-control", "min-similarity=-0.5"),
        ("cache-control", "min-similarity=nan"),
        ("cache-control", "min-similarity=1e-3"),
        ("cache-control", "max-age=10, Only-If-Cached"),
        ("x-millrace-cache-namespace", "../other"),
        ("x-millrace-cache-namespace", "a b"),
        ("x-millrace-cache-namespace", "a" * 129),
    ],
)
def test_headers_that_make_no_sense_are_refused(name: str, value: str) -> None:
    """H61: an impossible age or namespace is the caller's mistake, and the header is named."""
    error = merge_cache_policy(NOTHING, {name: value})
    assert isinstance(error, PublicError)
    assert (error.code, error.param, error.meaning.status) == ("invalid_header", name, 400)


def test_body_and_headers_may_not_name_two_namespaces() -> None:
    """Which of them was meant cannot be known."""
    body = CachePolicy(namespace="a")
    error = merge_cache_policy(body, {"x-millrace-cache-namespace": "b"})
    assert isinstance(error, PublicError)
    assert (error.code, error.param) == ("invalid_value", "cache.namespace")
    assert merge_cache_policy(body, {"x-millrace-cache-namespace": "a"}) == body


POLICIES = st.builds(
    CachePolicy,
    no_cache=st.booleans(),
    no_store=st.booleans(),
    max_age_s=st.integers(ANY_AGE_S, 100),
    namespace=st.sampled_from(["", "a"]),
    no_semantic=st.booleans(),
    min_similarity=st.floats(0, 1),
)


@given(POLICIES, POLICIES)
def test_the_stricter_policy_wins(one: CachePolicy, other: CachePolicy) -> None:
    """Joining never lets the cache do what one of the two forbids, whichever comes first."""
    both = joined(one, other)
    assert isinstance(both, CachePolicy)
    assert both == joined(other, one)
    for policy in (one, other):
        assert both.no_cache >= policy.no_cache
        assert both.no_store >= policy.no_store
        assert policy.max_age_s == ANY_AGE_S or ANY_AGE_S < both.max_age_s <= policy.max_age_s
        assert policy.namespace in {"", both.namespace}
        assert both.no_semantic >= policy.no_semantic
        assert both.min_similarity >= policy.min_similarity
    assert joined(both, both) == both


@pytest.mark.parametrize(
    ("policy", "param"),
    [
        (CachePolicy(max_age_s=-2), "cache_policy.max_age_s"),
        (CachePolicy(max_age_s=MAX_CACHE_AGE_S + 1), "cache_policy.max_age_s"),
        (CachePolicy(namespace="a/b"), "cache_policy.namespace"),
        (CachePolicy(max_age_s=5, namespace="a/b"), "cache_policy.namespace"),
        (CachePolicy(min_similarity=1.5), "cache_policy.min_similarity"),
        (CachePolicy(min_similarity=float("nan")), "cache_policy.min_similarity"),
    ],
)
def test_a_policy_declared_in_a_record_is_checked(policy: CachePolicy, param: str) -> None:
    """A producer's policy obeys the same bounds as a body's."""
    error = declared_policy_error(policy)
    assert error is not None
    assert error.param == param


@pytest.mark.parametrize(
    "policy", [NOTHING, CachePolicy(max_age_s=0, namespace="a", no_store=True)]
)
def test_a_declared_policy_in_bounds_is_accepted(policy: CachePolicy) -> None:
    """What obeys the bounds is no error."""
    assert declared_policy_error(policy) is None
