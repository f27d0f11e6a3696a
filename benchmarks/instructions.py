"""Counts instructions of the Python interpreter, a cost that does not depend on other programs.

Seconds, and processor seconds too, differ by a fifth from run to run on a shared machine. The number of
bytecode instructions of a deterministic program is the same in every run of one version of Python. Work in C
(heaps, arrays, codecs) is not counted, so processor time is measured as well.
"""

import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any


def count_instructions(call: Callable[[], object]) -> int:
    """Call *call* and return the number of bytecode instructions that ran in this thread.

    Args:
        call: takes nothing; its result is dropped. It runs some fifty times slower than otherwise.

    Raises:
        RuntimeError: another trace function is set, as a debugger or a coverage tool does.
    """
    if sys.gettrace() is not None:
        raise RuntimeError(f"thread {threading.current_thread().name!r} has a trace function already")
    count = 0

    def count_one(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal count
        if event == "opcode":
            count += 1
        return count_one

    def enter(frame: FrameType, event: str, argument: object) -> Any:
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        return count_one

    sys.settrace(enter)
    try:
        call()
    finally:
        sys.settrace(None)
    return count
