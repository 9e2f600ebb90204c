"""Sharing test files among processes."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from tests.support.every_core import Claims, with_following


def test_a_file_is_of_whoever_asks_first(tmp_path: Path) -> None:
    """And stays with him, whoever asks again."""
    one, other = Claims(tmp_path), Claims(tmp_path)
    assert one.take("tests/unit/test_a.py")
    assert not other.take("tests/unit/test_a.py")
    assert other.take("tests/unit/test_b.py")
    assert not one.take("tests/unit/test_b.py")
    assert one.take("tests/unit/test_a.py")


def test_files_of_one_name_are_told_apart(tmp_path: Path) -> None:
    """By their folders."""
    claims = Claims(tmp_path)
    assert claims.take("tests/unit/router/test_decide.py")
    assert claims.take("tests/unit/batcher/test_decide.py")


@given(st.lists(st.integers(1, 9)))
def test_each_that_is_taken_comes_once_and_with_the_next(numbers: list[int]) -> None:
    """Nothing that is taken is lost at the beginning, the end, or between."""
    taken = [number for number in numbers if number % 2]
    pairs = list(with_following(numbers, lambda number: bool(number % 2)))
    assert pairs == list(zip(taken, [*taken[1:], None], strict=False))


def test_no_more_is_taken_than_is_run_next() -> None:
    """So that what this process has no time for is left to others."""
    asked: list[int] = []

    def take(number: int) -> bool:
        asked.append(number)
        return True

    pairs = with_following([1, 2, 3, 4], take)
    assert next(pairs) == (1, 2)
    assert asked == [1, 2]
