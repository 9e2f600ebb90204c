"""What words give away."""

import pytest

from services.shared.domain.cascade.phrases import (
    hedges_in,
    misses_format,
    refuses,
    task_of,
)


@pytest.mark.parametrize(
    ("prompt", "task"),
    [
        ("How many apples are 3 and 4?", "math"),
        ("One weighs 48 g, the other half. What is the combined weight of the two?", "math"),
        ("8 puppies, 3 of which have spots. What percentage of all of them has spots?", "math"),
        ("Ten boxes hold two each. How many are there?", "math"),
        ("What happened in 1969?", "text"),
        ("What is the time-honoured way to brew tea?", "text"),
        ("How many roads must a man walk down?", "text"),
        ("Write a Python function that adds.", "code"),
        ("What is 2 times 3?\nA. 5\nB. 6\nAnswer:", "choice"),
        ("Explain the tides.", "text"),
    ],
)
def test_kinds_of_tasks(prompt: str, task: str) -> None:
    """By what is asked for."""
    assert task_of(prompt) == task


def test_doubt_counts_at_the_beginning() -> None:
    """Further on the same words are part of the matter."""
    assert hedges_in("I'm not sure, but perhaps it is.") == 2
    assert hedges_in("It is. " * 40 + "Perhaps.") == 0


def test_declining_counts_at_the_beginning() -> None:
    """In the first words alone."""
    assert refuses("I'm sorry, but I can't help with that.")
    assert not refuses("The answer is 7.")


@pytest.mark.parametrize(
    ("demand", "without", "with_it"),
    [
        ("End with '#### <number>'.", "It is 7.", "It is 7.\n#### 7"),
        ("Put it in \\boxed{}.", "It is 7.", "\\boxed{7}"),
        ("Write <answer>...</answer>.", "7", "<answer>7</answer>"),
        ("Answer with only the letter.", "apples, surely", "B"),
        ("Reply with yes or no.", "certainly", "Yes."),
        ("Answer only with a number.", "seven", "7"),
    ],
)
def test_demanded_formats(demand: str, without: str, with_it: str) -> None:
    """What is demanded has to be there; what is not demanded need not."""
    assert misses_format(demand, "", without)
    assert not misses_format("", demand, with_it)
    assert not misses_format("Just tell me.\n#### Notes", "", without)
