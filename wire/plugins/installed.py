"""The plug-ins that this process knows: entry points of installed packages, and objects that it was given.

Objects are kept as ``kind.name=module:attribute`` in the environment variable `VARIABLE`, so that every
process that this one starts has them, too.
"""

import functools
import os
import re
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from importlib import metadata

from wire.errors import InputError
from wire.plugins.plugin import GROUPS, Plugin, PluginKind, PluginUse, resolve, version_of

VARIABLE = "PEELFLEET_PLUGINS"
"""Environment variable with plug-ins that are in no installed package, separated by spaces."""

Objects = Mapping[str, Mapping[str, object]]
"""Plug-ins by kind, such as ``memory``, and by name: an object of a module, or ``module:attribute``."""

_ENTRY = re.compile(r"(?P<kind>\w+)\.(?P<name>[^=\s]+)=(?P<value>[\w.]+:[\w.]+)")
_NAME = re.compile(r"[A-Za-z][\w-]*")
_LOCK = threading.Lock()


def find_plugins(kind: PluginKind, name: str) -> Sequence[Plugin]:
    """Return the plug-ins of *kind* called *name*; two packages may have the same name."""
    return [plugin for plugin in list_plugins(kind) if plugin.name == name]


def list_plugins(kind: PluginKind) -> Sequence[Plugin]:
    """Return all plug-ins of *kind* by name.

    Raises:
        InputError: `VARIABLE` is not a list of plug-ins.
    """
    known = dict.fromkeys([*_installed(), *_read_variable(os.environ.get(VARIABLE, ""))])
    return sorted((plugin for plugin in known if plugin.kind is kind), key=lambda plugin: plugin.name)


def find_missing(uses: Iterable[PluginUse]) -> PluginUse | None:
    """Return the first of *uses* whose plug-in this process does not have; None if it has all."""
    for use in uses:
        known = list_plugins(PluginKind(use.kind)) if use.kind in list(PluginKind) else ()
        if (use.name, use.package) not in {(plugin.name, plugin.package) for plugin in known}:
            return use
    return None


def list_changed(uses: Iterable[PluginUse]) -> Iterator[str]:
    """Yield a line for each of *uses* whose plug-in is of another version now, or of other code."""
    for use in uses:
        for plugin in find_plugins(PluginKind(use.kind), use.name) if use.kind in list(PluginKind) else ():
            now = plugin.use()
            if plugin.package == use.package and now != use:
                other = now.version if now.version != use.version else "the same version with other code"
                yield f"{use}: installed is {other}"


def unknown_groups() -> Sequence[tuple[str, str]]:
    """Return the entry-point groups that look like ours and are no kind, each with its package."""
    entries, kinds = metadata.entry_points(), {f"{GROUPS}{kind}" for kind in PluginKind}
    unknown = (group for group in entries.groups if group.startswith(GROUPS) and group not in kinds)
    return sorted(
        {(group, _package_of(entry)[0]) for group in unknown for entry in entries.select(group=group)}
    )


@functools.cache
def _installed() -> Sequence[Plugin]:
    entries = metadata.entry_points()  # all packages are read once
    return [
        Plugin(kind, entry.name, *_package_of(entry), entry.value)
        for kind in PluginKind
        for entry in entries.select(group=f"{GROUPS}{kind}")
    ]


def _package_of(entry: metadata.EntryPoint) -> tuple[str, str]:
    return ("?", "?") if entry.dist is None else (entry.dist.name, entry.dist.version)


@functools.lru_cache(8)
def _read_variable(text: str) -> Sequence[Plugin]:
    plugins = []
    for word in text.split():
        entry = _ENTRY.fullmatch(word)
        if entry is None or entry["kind"] not in list(PluginKind):
            raise InputError(
                f"{VARIABLE}: {word!r} must be kind.name=module:attribute; the kinds are "
                f"{', '.join(PluginKind)}"
            )
        package = entry["value"].partition(":")[0].partition(".")[0]
        kind = PluginKind(entry["kind"])
        plugins.append(Plugin(kind, entry["name"], package, version_of(package), entry["value"]))
    return plugins


def use_plugins(plugins: Objects) -> AbstractContextManager[object]:
    """Let scenarios name *plugins* from now on, in this process and in those that it starts.

    The value is a context: as a ``with`` block it ends this again; otherwise this process keeps them.

    Raises:
        InputError: a kind or a name is wrong, or other processes could not import an object.
    """
    words = [
        f"{_kind_of(kind)}.{_checked_name(name)}={_value_of(kind, name, item)}"
        for kind, items in plugins.items()
        for name, item in items.items()
    ]
    _add(words)
    block = ExitStack()
    block.callback(_remove, words)
    return block


def child_environment() -> dict[str, str]:
    """Return the environment for a program that this one starts: it can import the same plug-ins.

    Worker processes of `multiprocessing` get the folders of modules in another way.
    """
    if VARIABLE not in os.environ:
        return dict(os.environ)
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def _add(words: Sequence[str]) -> None:
    with _LOCK:
        _write_variable([*os.environ.get(VARIABLE, "").split(), *words])


def _remove(words: Sequence[str]) -> None:
    with _LOCK:
        left = os.environ.get(VARIABLE, "").split()
        for word in words:
            left.remove(word)  # one of them: another block may have the same
        _write_variable(left)


def _write_variable(words: Sequence[str]) -> None:
    if words:
        os.environ[VARIABLE] = " ".join(words)
    else:
        os.environ.pop(VARIABLE, None)


def _kind_of(text: str) -> PluginKind:
    if text not in list(PluginKind):
        raise InputError(f"plugins[{text!r}] must be one of {', '.join(PluginKind)}")
    return PluginKind(text)


def _checked_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise InputError(f"plugins: the name {name!r} must be letters, digits, '_' and '-'")
    return name


def _value_of(kind: str, name: str, item: object) -> str:
    """Return *item* as ``module:attribute``, by which another process imports the same."""
    which = f"plugins[{kind!r}][{name!r}]"
    if isinstance(item, str):
        value = item
        if not re.fullmatch(r"[\w.]+:[\w.]+", value):
            raise InputError(f"{which}(={value!r}) must be module:attribute")
        return value
    module, attribute = getattr(item, "__module__", None), getattr(item, "__qualname__", None)
    if module is None or attribute is None:
        raise InputError(f"{which} must be a class, a function, or the text module:attribute")
    if module == "__main__" or "<" in attribute:
        raise InputError(
            f"{which}(={attribute}) must be at the top of a module that other processes can import, not in "
            f"{'a script or a notebook' if module == '__main__' else 'a function'}"
        )
    value = f"{module}:{attribute}"
    try:
        same = resolve(value) is item
    except (ImportError, AttributeError):
        same = False
    if not same:
        raise InputError(f"{which} must be what other processes import as {value}")
    return value
