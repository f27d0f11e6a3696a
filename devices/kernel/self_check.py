"""A check of the kernel's random numbers against those of numpy that is installed, before it is used."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from devices.kernel.code_cache import code_folder, is_compiled, note_compiled
from devices.kernel.compiler import entry_point
from devices.kernel.random_numbers import (
    SEPARATOR,
    integer,
    make_streams,
    pareto,
    random,
    standard_exponential,
    standard_normal,
)
from wire.errors import RunError
from wire.locks import acquire_lock
from wire.random_streams import stream

ROWS = 500
_WIDE = 2**40


@entry_point
def draw_rows(streams: NDArray[Any], rows: NDArray[np.float64]) -> None:
    """Draw a row of numbers of all kinds again and again from the first of *streams*."""
    own = streams[0]
    for at in range(len(rows)):
        rows[at, 0], rows[at, 1] = random(own), standard_normal(own)
        rows[at, 2], rows[at, 3] = standard_exponential(own), pareto(own, 2.5)
        rows[at, 4], rows[at, 5] = integer(own, 0, 1000), integer(own, -5, _WIDE)
        rows[at, 6] = np.exp(standard_normal(own))


def numpy_rows(rng: np.random.Generator, count: int) -> NDArray[np.float64]:
    """Return the rows that numpy draws."""
    return np.array(
        [
            (
                rng.random(),
                rng.standard_normal(),
                rng.standard_exponential(),
                rng.pareto(2.5),
                rng.integers(0, 1000, endpoint=True),
                rng.integers(-5, _WIDE, endpoint=True),
                rng.lognormal(0.0, 1.0),
            )
            for _ in range(count)
        ]
    )


def check_random_numbers() -> None:
    """Check that the kernel draws what numpy draws.

    Raises:
        RunError: it does not: the log would be another one.
    """
    rows = np.zeros((ROWS, 7))
    draw_rows(make_streams(1, [SEPARATOR.join(("self", "check"))]), rows)
    if not np.array_equal(rows, numpy_rows(stream(1, "self", "check"), ROWS)):
        raise RunError(
            f"engine: the kernel's random numbers are not those of numpy {np.__version__}; use engine simpy"
        )


def compile_once(compile_all: Callable[[], None]) -> None:
    """Call *compile_all*, which compiles all code; of several processes one does, and the others wait.

    Code that is compiled already is only loaded, by all of them at once.
    """
    folder = code_folder()
    if folder is None or is_compiled():
        compile_all()
        return
    try:
        lock = acquire_lock(folder / "lock", lambda: None, keep_file=True)
    except OSError:  # a file system without locks
        compile_all()
        return
    with lock:
        compile_all()
        note_compiled()
