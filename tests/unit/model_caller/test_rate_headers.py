"""What answers say of when the next call may be made."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.model_caller.rate_headers import MAX_ASKED_PAUSE_MS, asked_pause_ms

NOW_MS = 1_780_000_000_000.0  # 2026-05-28T20:26:40Z


def window(kind: str, *, remaining: str = "0", reset: str = "", limit: str = "") -> dict[str, str]:
    """The headers of a window."""
    headers = {f"x-ratelimit-remaining-{kind}": remaining, f"x-ratelimit-reset-{kind}": reset}
    return {**headers, f"x-ratelimit-limit-{kind}": limit} if limit else headers


@pytest.mark.parametrize(
    ("headers", "pause_ms"),
    [
        ({}, 0),
        ({"retry-after": "3"}, 3_000),
        ({"retry-after": "1.5"}, 1_500),
        ({"retry-after": "0"}, 0),
        ({"retry-after": "-4"}, 0),
        ({"retry-after": "soon"}, 0),
        ({"retry-after": "nan"}, 0),
        ({"retry-after": "1e300"}, MAX_ASKED_PAUSE_MS),
        ({"retry-after": "Thu, 28 May 2026 20:26:45 GMT"}, 5_000),
        ({"retry-after": "Thu, 28 May 2026 20:26:35 GMT"}, 0),
        ({"retry-after": "86400"}, MAX_ASKED_PAUSE_MS),
        ({"retry-after-ms": "250", "retry-after": "1"}, 250),
        (window("requests", remaining="1", reset="1s"), 0),
        (window("requests", reset="1s"), 1_000),
        (window("requests", reset="6m0s"), 360_000),
        (window("requests", reset="1h2m3.5s"), MAX_ASKED_PAUSE_MS),
        (window("requests", reset="250ms"), 250),
        (window("requests", reset="2"), 2_000),
        (window("requests", reset="1780000007"), 7_000),
        (window("requests", reset="1780000007500"), 7_500),
        (window("requests", reset="1779999999"), 0),
        (window("requests", reset="2026-05-28T20:26:44Z"), 4_000),
        (window("requests", reset="2026-05-28T20:26:44"), 4_000),
        (window("requests", reset="2026-05-28T20:26:30Z"), 0),
        (window("requests", reset="tomorrow"), 0),
        (window("requests", reset=""), 0),
        (window("requests", remaining="none", reset="9s"), 0),
        (window("requests", remaining="-1", reset="9s"), 0),
        (window("requests", reset="60s", limit="600"), 100),
        (window("tokens", reset="60s", limit="60000"), 500),
        (window("tokens", reset="2s", limit="100"), 2_000),
        (window("tokens", reset="60s", limit="0"), 60_000),
        ({"retry-after": "1", **window("requests", reset="2s")}, 2_000),
    ],
)
def test_every_form_is_read_and_bounded(headers: dict[str, str], pause_ms: int) -> None:
    """Seconds, fractions, ms, dates; windows by what one more call needs of them."""
    assert asked_pause_ms(headers, tokens=500, now_ms=NOW_MS) == pause_ms


@given(
    st.dictionaries(
        st.sampled_from(
            [
                "retry-after",
                "retry-after-ms",
                *(
                    f"x-ratelimit-{word}-{kind}"
                    for word in ("limit", "remaining", "reset")
                    for kind in ("requests", "tokens")
                ),
            ]
        ),
        st.text(max_size=30) | st.integers(-9, 9**15).map(str),
    )
)
def test_no_header_breaks_it(headers: dict[str, str]) -> None:
    """Whatever a provider writes, a bounded pause comes out."""
    assert 0 <= asked_pause_ms(headers, tokens=500, now_ms=NOW_MS) <= MAX_ASKED_PAUSE_MS
