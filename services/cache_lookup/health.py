"""How far a look-up has read what it serves by, in words for operators. Pure.

While it reads it works, and misses; so it is ready all the same.
"""


def said_of_entries(read_ratio: float, put: int) -> str:
    """How much of ``cache-entries`` the semantic index has.

    Args:
        read_ratio: Share of what the topic held at the start that was read, 0..1.
        put: Entries that were put into the index since.
    """
    if read_ratio < 1.0:
        return f"reading: {int(100 * read_ratio)} %, {put} entries put; misses meanwhile"
    return f"read: {put} entries put"


def said_of_judgements(*, is_read: bool) -> str:
    """Whether the verified mode knows its evidence."""
    return "read" if is_read else "reading: nothing is served in verified mode meanwhile"
