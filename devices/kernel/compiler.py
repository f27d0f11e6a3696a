"""The compiler of the kernel: numba, where it is installed, with a cache of compiled code for each user.

The rest of the product imports this room where the kernel runs only: numba is an extra, `fast`.
"""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numpy as np

from devices.kernel.code_cache import code_folder

Function = TypeVar("Function", bound=Callable[..., Any])  # Any: compiled functions take records

_njit: Any = numba.njit  # Any: not all options have types
_FOLDER = code_folder()
if _FOLDER is not None:
    setattr(numba.config, "CACHE_DIR", str(_FOLDER))  # noqa: B010


def compiled(function: Function) -> Function:
    """Return *function* as a part of compiled code: only compiled functions can call it."""
    result: Function = _njit(error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)(function)
    return result


def entry_point(function: Function) -> Function:
    """Return *function*, compiled with all that it calls at its first call, or read from the cache."""
    result: Function = _njit(error_model="numpy", cache=_FOLDER is not None)(function)
    return result


def fixed(*numbers: int) -> tuple[int, ...]:
    """Return numbers as constants of compiled code.

    A Python integer is a type of its own there: a function would be compiled for each of them.
    """
    return cast("tuple[int, ...]", tuple(np.int64(number) for number in numbers))
