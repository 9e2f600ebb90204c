"""Wordings that are never compared."""

import pytest

from services.cache_lookup.semantic.wording import unfit


@pytest.mark.parametrize(
    ("reason", "text"),
    [
        ("empty", ""),
        ("script", "12 + 30"),
        ("script", "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35"),
        ("script", "\u1230\u120b\u121d \u1208\u12d3\u1208\u121d"),
        ("script", "\u10d2\u10d0\u10db\u10d0\u10e0\u10ef\u10dd\u10d1\u10d0"),
        ("script", "\u4f60\u597d\u5417"),
        ("script", "\u3053\u3093\u306b\u3061\u306f"),
        ("script", "\uc548\ub155\ud558\uc138\uc694"),
        ("script", "\u041a\u0430\u043a \u0434\u0435\u043b\u0430?"),
        ("script", "\u0643\u064a\u0641 \u062d\u0627\u0644\u0643"),
        ("script", "\u05de\u05d4 \u05e9\u05dc\u05d5\u05de\u05da"),
        ("script", "\u0928\u092e\u0938\u094d\u0924\u0947 API"),
        ("time", "What is the latest iPhone?"),
        ("time", "Who won on Friday?"),
        ("time", "What is the weather in Rome?"),
        ("time", "What did we sell last month?"),
        ("payload", "Translate: good morning"),
        ("deictic", "Translate this to French"),
        ("deictic", "Summarize the following text"),
        ("deictic", "Fix the bug below"),
        ("deictic", "Is it free?"),
        ("deictic", "And what about the second one?"),
        ("", "Is it safe to travel to Rome?"),
        ("", "My card was declined, what does this mean?"),
        ("", "Ti\u1ebfng Vi\u1ec7t c\u00f3 kh\u00f3 kh\u00f4ng?"),
    ],
)
def test_what_another_wording_cannot_stand_for(reason: str, text: str) -> None:
    """Texts tied to a time, to something beside them, or in a script the encoder does not know."""
    assert unfit(text, text) == reason
