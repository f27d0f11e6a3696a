"""Reading a pickle without unpickling it: plain containers, numbers and text, and nothing else.

A pickle is a program; the standard reader runs it, and what it may call is whatever can be imported. This
reader knows the instructions that build dictionaries, lists, tuples, numbers and text. There is none in
it that looks up a name or calls anything, and any other instruction ends the reading.

A few bytes can also build what never ends when it is looked at: containers that hold one another many times
over, deep ones, keys that take for ever to hash. So keys are short numbers and text, and what was built is
measured, each container once, before anyone walks through it.
"""

import pickletools
from collections.abc import Callable, Mapping
from typing import Any, Final

MAX_DEPTH: Final = 100
MAX_BITS: Final = 1024
"""Of a number; one in a key has at most a sixteenth: many long ones can be chosen to hash alike."""
MAX_SHARED: Final = 10_000
"""A value may be so much larger than what was built, in all, by containers that stand in it twice."""
Stack = list[Any]  # Any: plain values, containers of them, and marks


class UnsafePickleError(ValueError):
    """A pickle holds more than plain values."""


class _Mark:
    """The mark on the stack at the start of a container under construction."""


_MARK: Final = _Mark()


def read_plain_pickle(data: bytes) -> object:
    """Return the value that the pickle *data* describes.

    Raises:
        UnsafePickleError: it is damaged, or would do more than build plain values.
    """
    stack: Stack = []
    memo: dict[int, Any] = {}
    offset = 0
    try:
        for opcode, argument, at in pickletools.genops(data):
            offset = at or 0
            if opcode.name == "STOP":
                (value,) = stack
                _check_size(value)
                return value
            _apply(opcode.name, argument, at, stack, memo)
    except UnsafePickleError:
        raise
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError):
        raise UnsafePickleError(f"is damaged, or no pickle: at byte {offset}") from None
    raise UnsafePickleError("is cut short")


def _check_size(value: object) -> None:
    """Check that *value* is about as large as what was built, and not deep.

    Raises:
        UnsafePickleError: it holds a container too many times, itself, or too deep.
    """
    sizes: dict[int, int] = {}
    depths: dict[int, int] = {}
    opened: set[int] = set()
    built = 0
    todo: list[Any] = [value]
    while todo:
        container = todo[-1]
        key = id(container)
        if key in sizes or not isinstance(container, dict | list | tuple):
            todo.pop()
            continue
        inner = [item for item in _items(container) if isinstance(item, dict | list | tuple)]
        if key not in opened:
            opened.add(key)
            if any(id(item) in opened and id(item) not in sizes for item in inner):
                raise UnsafePickleError("holds a container that holds itself")
            todo += (item for item in inner if id(item) not in sizes)
            continue
        todo.pop()
        built += len(container) + 1
        sizes[key] = len(container) + 1 + sum(sizes[id(item)] for item in inner)
        depths[key] = 1 + max((depths[id(item)] for item in inner), default=0)
        if depths[key] > MAX_DEPTH:
            raise UnsafePickleError(f"is nested more than {MAX_DEPTH} deep")
    if sizes.get(id(value), 0) > built + MAX_SHARED:
        raise UnsafePickleError("holds the same containers many times over, so it is not read")


def _items(container: Any) -> Any:
    return container.values() if isinstance(container, dict) else container


def _apply(name: str, argument: Any, offset: int | None, stack: Stack, memo: dict[int, Any]) -> None:
    if name in _VALUES:
        if isinstance(argument, int) and argument.bit_length() > MAX_BITS:
            raise UnsafePickleError(f"holds a number of {argument.bit_length()} bits at byte {offset}")
        stack.append(argument)
    elif name in _MEMOIZE:
        memo[len(memo) if argument is None else argument] = stack[-1]
    elif name in _RECALL:
        stack.append(memo[argument])
    elif name in _BUILD:
        _BUILD[name](stack)
    elif name not in ("PROTO", "FRAME"):
        raise UnsafePickleError(f"holds {name} at byte {offset}: more than plain values, so it is not read")


def _above_mark(stack: Stack) -> Stack:
    """Remove and return the items above the last mark, and remove the mark."""
    index = len(stack) - 1
    while stack[index] is not _MARK:
        index -= 1
        if index < 0:
            raise UnsafePickleError("is damaged: it has no mark where one is needed")
    above = stack[index + 1 :]
    del stack[index:]
    return above


def _append(stack: Stack) -> None:
    item = stack.pop()
    _list(stack[-1]).append(item)


def _appends(stack: Stack) -> None:
    items = _above_mark(stack)
    _list(stack[-1]).extend(items)


def _set_item(stack: Stack) -> None:
    value, key = stack.pop(), stack.pop()
    _dict(stack[-1])[_key(key)] = value


def _set_items(stack: Stack) -> None:
    items = _above_mark(stack)
    _dict(stack[-1]).update(zip(map(_key, items[::2]), items[1::2], strict=True))


def _new_dict(stack: Stack) -> None:
    items = _above_mark(stack)
    stack.append(dict(zip(map(_key, items[::2]), items[1::2], strict=True)))


def _key(key: Any) -> Any:
    if type(key) is int and key.bit_length() > MAX_BITS // 16:
        raise UnsafePickleError(f"has a key of {key.bit_length()} bits")
    if type(key) not in (str, int):
        raise UnsafePickleError(f"has a key that is neither a number nor text, but {type(key).__name__}")
    return key


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
