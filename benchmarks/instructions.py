"""Counting the instructions of the Python interpreter: a cost that no other program on the machine moves.

Seconds differ from run to run by a fifth on a shared machine, processor seconds too. The number of bytecode
instructions of a deterministic program does not: it is the same in every run of one version of Python. Work
inside of C (heaps, arrays, codecs) is not counted, so processor time is measured beside it.
"""

import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any


def count_instructions(call: Callable[[], object]) -> int:
    """Call *call* and return how many bytecode instructions ran in this thread meanwhile.

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
