"""The registry of plug-ins of one kind: finds them by name, checks them, refuses names with two meanings."""

import functools
from collections.abc import Callable, Collection, Sequence
from enum import StrEnum
from typing import Generic, TypeVar

import msgspec

from wire.errors import InputError
from wire.plugins.installed import find_plugins, list_plugins
from wire.plugins.plugin import Plugin, PluginKind

T = TypeVar("T")
K = TypeVar("K")
V = TypeVar("V")


class PluginRegistry(Generic[T]):
    """The plug-ins of one kind.

    Args:
        kind: of the plug-ins.
        own: names that peelfleet itself has.
        check: returns the object of a plug-in as what it must be; a `ValueError` has the rule that it breaks.
    """

    def __init__(self, kind: PluginKind, own: Collection[str], check: Callable[[str, object], T]) -> None:
        self.kind = kind
        self._own = frozenset(own)
        self._check = check
        self.load = functools.cache(self._load)
        """Returns the checked object of a plug-in; an `InputError` says why it cannot be used."""

    def names(self) -> Sequence[str]:
        """Return the names of all plug-ins of this kind that a scenario can use."""
        return [
            name for name in dict.fromkeys(each.name for each in list_plugins(self.kind)) if self._fits(name)
        ]

    def plugin(self, name: str) -> Plugin | None:
        """Return the plug-in called *name*; None if there is none.

        Raises:
            InputError: the name means two things.
        """
        plugins = find_plugins(self.kind, name)
        if not plugins:
            return None
        if name in self._own:
            raise InputError(f"{plugins[0]}: peelfleet has a {self.kind.noun} of that name itself")
        if len(plugins) > 1:
            raise InputError(
                f"{plugins[0]}: {plugins[1].package} {plugins[1].version} has one of that name, too"
            )
        return plugins[0]

    def find(self, name: str) -> T | None:
        """Return the object of the plug-in called *name*; None if there is none.

        Raises:
            InputError: the name means two things, or the plug-in cannot be used.
        """
        plugin = self.plugin(name)
        return None if plugin is None else self.load(plugin)

    def is_own(self, name: str) -> bool:
        """Tell if peelfleet itself has *name*."""
        return name in self._own

    def _fits(self, name: str) -> bool:
        return name not in self._own and len(find_plugins(self.kind, name)) == 1

    def _load(self, plugin: Plugin) -> T:
        try:
            return self._check(plugin.name, plugin.load())
        except ValueError as error:
            raise InputError(f"{plugin}: {error}") from None


class WithPlugins(dict[str, V]):
    """Our own entries by name; a name that is none of them is looked up among the plug-ins.

    Only looking up by ``[name]`` finds plug-ins: a loop goes over our own entries.
    """

    def __init__(self, own: dict[str, V], find: Callable[[str], V | None]) -> None:
        super().__init__(own)
        self._find = find

    def __missing__(self, name: str) -> V:
        found = self._find(name)
        if found is None:
            raise KeyError(name)
        return found


def check_settings(
    name: str, found: object, methods: Sequence[str], base: type | None = None
) -> type[msgspec.Struct]:
    """Return *found* as a class of settings that a scenario can name by ``type: NAME``.

    Args:
        name: of the plug-in.
        found: its object.
        methods: that the class must have.
        base: a class that it must be derived from.

    Raises:
        ValueError: a rule is broken.
    """
    if not isinstance(found, type) or not issubclass(found, msgspec.Struct):
        raise ValueError("must be a class derived from msgspec.Struct")
    if base is not None and not issubclass(found, base):
        raise ValueError(f"must be derived from {base.__module__}.{base.__qualname__}")
    config = found.__struct_config__
    if not config.frozen:
        raise ValueError(f"{found.__name__} must be frozen")
    if (config.tag_field, config.tag) != ("type", name):
        raise ValueError(f"{found.__name__} must have tag_field='type' and tag={name!r}")
    missing = [method for method in methods if not callable(getattr(found, method, None))]
    if missing:
        raise ValueError(f"{found.__name__} must have the method {missing[0]}")
    return found


def new_member(cls: type[StrEnum], name: str, **attributes: object) -> StrEnum:
    """Return a member *name* of *cls*, which is not kept: another look-up asks for the plug-in again."""
    member = str.__new__(cls, name)
    member.__dict__.update(_name_=name, _value_=name, **attributes)
    return member
