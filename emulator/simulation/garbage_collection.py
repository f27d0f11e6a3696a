"""Garbage collection in a process that simulates."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def fewer_gc_runs() -> Iterator[None]:
    """Collect garbage less often: a simulation drops millions of objects, and few of them are in cycles."""
    before = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
