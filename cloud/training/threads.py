"""The number of threads of numerical libraries."""

from collections.abc import Iterator
from contextlib import contextmanager

from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]


@contextmanager
def limit_threads(count: int) -> Iterator[None]:
    """Let numpy, scipy and scikit-learn compute with *count* threads: it decides the last digits of sums."""
    with threadpool_limits(limits=count):
        yield
