"""Reading a pickle without unpickling it: plain containers, numbers and text, and nothing else.

A pickle is a program; the standard reader runs it, and what it may call is whatever can be imported. This
reader knows the instructions that build dictionaries, lists, tuples, numbers and text. There is none in
it that looks up a name or calls anything, and any other instruction ends the reading.
"""

import pickletools
from collections.abc import Callable, Mapping
from typing import Any, Final

Stack = list[Any]  # Any: plain values, containers of them, and marks


class UnsafePickleError(ValueError):
    """A pickle holds more than plain values."""


class _Mark:
    """Where on the stack a container under construction begins."""


_MARK: Final = _Mark()


def read_plain_pickle(data: bytes) -> object:
    """Return the value that the pickle *data* describes.

    Raises:
        UnsafePickleError: it is damaged, or would do more than build plain values.
    """
    stack: Stack = []
    memo: dict[int, Any] = {}
    try:
        for opcode, argument, place in pickletools.genops(data):
            if opcode.name == "STOP":
                (value,) = stack
                return value
            _apply(opcode.name, argument, place, stack, memo)
    except UnsafePickleError:
        raise
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise UnsafePickleError(f"is damaged, or no pickle: {error}") from None
    raise UnsafePickleError("is cut short")


def _apply(name: str, argument: Any, place: int | None, stack: Stack, memo: dict[int, Any]) -> None:
    if name in _VALUES:
        stack.append(argument)
    elif name in _MEMOIZE:
        memo[len(memo) if argument is None else argument] = stack[-1]
    elif name in _RECALL:
        stack.append(memo[argument])
    elif name in _BUILD:
        _BUILD[name](stack)
    elif name not in ("PROTO", "FRAME"):
        raise UnsafePickleError(f"holds {name} at byte {place}: more than plain values, so it is not read")


def _above_mark(stack: Stack) -> Stack:
    """Take what lies above the last mark, and the mark."""
    place = len(stack) - 1
    while stack[place] is not _MARK:
        place -= 1
        if place < 0:
            raise UnsafePickleError("is damaged: it has no mark where one is needed")
    above = stack[place + 1 :]
    del stack[place:]
    return above


def _append(stack: Stack) -> None:
    item = stack.pop()
    _list(stack[-1]).append(item)


def _appends(stack: Stack) -> None:
    items = _above_mark(stack)
    _list(stack[-1]).extend(items)


def _set_item(stack: Stack) -> None:
    value, key = stack.pop(), stack.pop()
    _dict(stack[-1])[key] = value


def _set_items(stack: Stack) -> None:
    items = _above_mark(stack)
    _dict(stack[-1]).update(zip(items[::2], items[1::2], strict=True))


def _new_dict(stack: Stack) -> None:
    items = _above_mark(stack)
    stack.append(dict(zip(items[::2], items[1::2], strict=True)))


def _tuple_of(count: int) -> Callable[[Stack], None]:
    def build(stack: Stack) -> None:
        if len(stack) < count:
            raise UnsafePickleError("is damaged: a tuple lacks items")
        items = tuple(stack[-count:])
        stack[-count:] = [items]

    return build


def _list(value: Any) -> list[Any]:
    if type(value) is not list:
        raise UnsafePickleError("is damaged: it appends to what is no list")
    return value


def _dict(value: Any) -> dict[Any, Any]:
    if type(value) is not dict:
        raise UnsafePickleError("is damaged: it sets items of what is no dictionary")
    return value


_VALUES: Final = frozenset(
    (
        "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT",
        "STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8",
    )
)  # fmt: skip
_MEMOIZE: Final = frozenset(("MEMOIZE", "PUT", "BINPUT", "LONG_BINPUT"))
_RECALL: Final = frozenset(("GET", "BINGET", "LONG_BINGET"))
_BUILD: Final[Mapping[str, Callable[[Stack], None]]] = {
    "NONE": lambda stack: stack.append(None),
    "NEWTRUE": lambda stack: stack.append(True),
    "NEWFALSE": lambda stack: stack.append(False),
    "MARK": lambda stack: stack.append(_MARK),
    "EMPTY_DICT": lambda stack: stack.append({}),
    "EMPTY_LIST": lambda stack: stack.append([]),
    "EMPTY_TUPLE": lambda stack: stack.append(()),
    "DICT": _new_dict,
    "LIST": lambda stack: stack.append(_above_mark(stack)),
    "TUPLE": lambda stack: stack.append(tuple(_above_mark(stack))),
    "TUPLE1": _tuple_of(1),
    "TUPLE2": _tuple_of(2),
    "TUPLE3": _tuple_of(3),
    "APPEND": _append,
    "APPENDS": _appends,
    "SETITEM": _set_item,
    "SETITEMS": _set_items,
}
