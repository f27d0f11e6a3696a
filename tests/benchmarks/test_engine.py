from functools import partial

import pytest

from benchmarks.engine import INSTRUCTIONS_AT_MOST, RATIO_AT_LEAST, broken_promises
from benchmarks.instructions import count_instructions


def add_up(numbers: int) -> int:
    total = 0
    for number in range(numbers):
        total += number
    return total


def test_instructions_are_counted_alike_in_every_run_and_grow_with_the_work() -> None:
    counts = [count_instructions(partial(add_up, numbers)) for numbers in (10, 20, 30, 10)]
    assert counts[3] == counts[0]
    assert counts[1] - counts[0] == counts[2] - counts[1] > 10


def test_instructions_of_functions_that_are_called_count_too() -> None:
    direct = count_instructions(lambda: add_up(10))
    nested = count_instructions(lambda: (lambda: add_up(10))())
    assert nested > direct


def test_counting_ends_with_an_error_of_what_is_counted() -> None:
    with pytest.raises(ZeroDivisionError):
        count_instructions(lambda: 1 // 0)
    assert count_instructions(lambda: add_up(10)) == count_instructions(lambda: add_up(10))


def test_each_broken_promise_names_its_figure_and_its_limit() -> None:
    assert broken_promises(INSTRUCTIONS_AT_MOST, RATIO_AT_LEAST) == []
    assert broken_promises(9.5, 0.05) == [
        f"engine: instructions_ratio(=9.500) must be <= {INSTRUCTIONS_AT_MOST}",
        f"engine: cpu_ratio(=0.050) must be >= {RATIO_AT_LEAST}",
    ]
    assert len(broken_promises(float("nan"), float("nan"))) == 2
