"""The defaults that recipes change, for the documentation and for the JSON schema."""

import functools
from collections.abc import Iterator, Mapping

import msgspec

from scenarios.language.schema import RECIPES, Model


def recipe_defaults(cls: type, key: str) -> Mapping[str, object]:
    """Return, by recipe, the defaults of *key* of *cls* that differ from that of `best`."""
    return {recipe: changes[cls, key] for recipe in RECIPES if (cls, key) in (changes := _changes(recipe))}


@functools.cache
def _changes(recipe: str) -> Mapping[tuple[type, str], object]:
    return dict(_differences(Model(), RECIPES[recipe]))


def _differences(best: msgspec.Struct, other: msgspec.Struct) -> Iterator[tuple[tuple[type, str], object]]:
    """Yield the keys, at any depth, in which *other* differs from *best*, and its values."""
    for key in best.__struct_fields__:
        before, after = getattr(best, key), getattr(other, key)
        if isinstance(before, msgspec.Struct) and isinstance(after, msgspec.Struct):
            yield from _differences(before, after)
        elif before != after and key != "recipe":
            yield (type(best), key), after
