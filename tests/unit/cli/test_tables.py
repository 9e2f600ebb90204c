"""Tables, ages and times of the command line."""

from io import StringIO

import pytest
from rich.console import Console

from services.cli.errors import CommandError
from services.cli.tables import age, harmless, print_table
from services.cli.times import time_ms, time_text

_NOW_MS = 1_780_000_000_000.0


def test_a_table_is_drawn_on_a_terminal() -> None:
    """Nothing of a cell is a command to the terminal, or a style."""
    shown = StringIO()
    console = Console(file=shown, width=80, force_terminal=True, color_system=None)
    print_table(console, ("id", "age"), [("[red]a\x1b[2J", "1s")], right=frozenset({"age"}))
    assert shown.getvalue().splitlines() == [" id          age ", " [red]a?[2J   1s "]


def test_a_table_is_parted_by_tabs_elsewhere() -> None:
    """So that cut and awk read it, however long a cell is."""
    shown = StringIO()
    print_table(Console(file=shown, width=10), ("id", "x"), [("a" * 40, "b\tc")])
    assert shown.getvalue() == f"id\tx\n{'a' * 40}\tb?c\n"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-5, "0s"), (119.9, "119s"), (120, "2m"), (7_199, "119m"), (7_200, "2h"), (172_800, "2d")],
)
def test_an_age_has_one_unit(seconds: float, text: str) -> None:
    """The largest of which there are two."""
    assert age(seconds) == text


def test_text_stays_as_it_is() -> None:
    """Letters of any script are harmless."""
    assert harmless("Straße 東京") == "Straße 東京"


@pytest.mark.parametrize(
    ("text", "unix_ms"),
    [
        ("", None),
        ("90s", 1_779_999_910_000),
        ("2h", 1_779_992_800_000),
        ("2026-05-28T20:26:40Z", 1_780_000_000_000),
        ("2026-05-28T22:26:40+02:00", 1_780_000_000_000),
        ("2026-05-28", 1_779_926_400_000),
    ],
)
def test_times_are_ages_or_dates(text: str, unix_ms: int | None) -> None:
    """Without an offset they are UTC."""
    assert time_ms("--since", text, now_ms=_NOW_MS) == unix_ms


def test_what_is_no_time_is_refused() -> None:
    """The message shows both forms."""
    with pytest.raises(CommandError, match="--since soon: write an age such as 10m"):
        time_ms("--since", "soon", now_ms=_NOW_MS)


def test_a_time_is_written_in_utc() -> None:
    """To the second."""
    assert time_text(1_780_000_000_999) == "2026-05-28T20:26:40Z"
