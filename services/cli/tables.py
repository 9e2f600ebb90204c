"""Tables for people: drawn on a terminal, tab-separated elsewhere; their text is only text."""

import unicodedata
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

_HOUR_S = 3_600


def print_table(
    console: Console,
    headings: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    right: frozenset[str] = frozenset(),
) -> None:
    """Print rows under headings.

    Args:
        console: Where to.
        headings: One a column.
        rows: Cells; control characters in them are shown as ``?``.
        right: Headings of columns that are aligned to the right.
    """
    cells = [[harmless(cell) for cell in row] for row in rows]
    if not console.is_terminal:
        for line in (headings, *cells):
            console.file.write("\t".join(line) + "\n")  # Rich would make spaces of tabs
        return
    table = Table(box=None)
    for heading in headings:
        is_right = heading in right
        table.add_column(heading, justify="right" if is_right else "left", overflow="fold")
    for row in cells:
        table.add_row(*map(Text, row))
    console.print(table)


def say(console: Console, text: str) -> None:
    """Print a line as it is."""
    console.print(text, soft_wrap=True, markup=False, highlight=False)


def harmless(text: str) -> str:
    """Text of somebody else without what would move a terminal's cursor."""
    return "".join("?" if unicodedata.category(char)[0] == "C" else char for char in text)


def age(seconds: float) -> str:
    """An age in one unit, as ``--since`` takes it."""
    whole = max(0, int(seconds))
    for unit_s, unit in ((86_400, "d"), (_HOUR_S, "h"), (60, "m")):
        if whole >= 2 * unit_s:
            return f"{whole // unit_s}{unit}"
    return f"{whole}s"
