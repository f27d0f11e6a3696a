"""Good scenarios changed at random: keys deleted, doubled and swapped, values of other kinds, cut text."""

import copy
import random
from collections.abc import Iterator
from typing import Any

import yaml

Tree = Any  # Any: YAML
Path = tuple[str | int, ...]

SCALARS: tuple[Any, ...] = (
    0, 1, -1, 2, 3, 0.5, 1.5, -0.1, 1000, 65_537, 2**31, 2**63, 10**30, 1e300, 1e-300, True, False, None, "",
    "x", "no", "1e3", "0 s", "1 ns", "1 us", "1 ms", "999 ms", "1 s", "17 s", "1 min", "1 h", "30 d",
    "36500 d", "106751 d", "0 B", "1 B", "1 KiB", "1 MiB", "2 GiB", "8388607 TiB", "0 %", "0.0001 %", "1 %",
    "50 %", "100 %", "101 %", "1 bps", "8 kbps", "1 Gbps", "9000000000 Gbps", "default", "phone", "tvbox",
    "calm", "storm", "storm + 1 min", "storm + 30 d", "poisson", "uniform", "exponential", "constant",
    "full", "uplink", "bounded_walk", "square_wave", "boundary", "pressure_states", "trace", "x.csv", "[",
    "a: b", "&a", [], {}, [1], {"a": 1}, "\x00", "é", "line\nbreak", "9" * 50,
)  # fmt: skip
"""What stands in for a value: other types, other units, extremes."""


KINDS: tuple[tuple[Any, ...], ...] = (
    ("0 s", "1 ns", "3 us", "1 ms", "999 ms", "1 s", "17 s", "1 min", "1 h", "30 d", "36500 d", "106751 d"),
    ("0 B", "1 B", "300 B", "1 KiB", "4 KiB", "1 MiB", "2 GiB", "9 TiB", "8388607 TiB"),
    ("0 %", "0.000001 %", "1 %", "17 %", "50 %", "90 %", "99 %", "100 %"),
    ("1 bps", "1 kbps", "1 Mbps", "9000000000 Gbps"),
    (0, 1, 2, 3, 7, 64, 1000, 2**31, 2**63 - 1),
    (0.0, 1e-9, 0.1, 0.5, 0.999, 1.0, 3.5, 1000.0, 1e6),
    (True, False, None),
)
"""Values of one kind: what can stand in for another without being refused for its form."""


def like(value: Tree, rng: random.Random) -> Tree:
    """Return another value of the kind of *value*."""
    if isinstance(value, str):
        unit = value.rpartition(" ")[2]
        for kind in KINDS:
            if any(isinstance(each, str) and each.rpartition(" ")[2] == unit for each in kind):
                return rng.choice(kind)
    fits = [kind for kind in KINDS if type(value) is type(kind[0])]
    return rng.choice(fits[0]) if fits else rng.choice(SCALARS)


def paths(tree: Tree, at: Path = ()) -> Iterator[Path]:
    """Yield the place of every value below *tree*."""
    entries = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in entries:
        yield (*at, key)
        yield from paths(value, (*at, key))


def value_at(tree: Tree, path: Path) -> Tree:
    """Return the value at *path*."""
    for key in path:
        tree = tree[key]
    return tree


def put(tree: Tree, path: Path, value: Tree) -> None:
    """Put *value* to *path*."""
    value_at(tree, path[:-1])[path[-1]] = value


def mutate(tree: Tree, rng: random.Random) -> None:
    """Change one thing of *tree*, which has at least two values."""
    places = list(paths(tree))
    if not places:
        return
    path, other = rng.choice(places), rng.choice(places)
    within = value_at(tree, path[:-1])
    match rng.randrange(14):
        case 8 | 9 | 10 | 11 | 12 | 13:
            scalars = [each for each in places if not isinstance(value_at(tree, each), dict | list)]
            path = rng.choice(scalars) if scalars else path
            put(tree, path, like(value_at(tree, path), rng))
        case 0:
            del within[path[-1]]
        case 1 | 2 | 3:
            within[path[-1]] = rng.choice(SCALARS)
        case 4:
            within[path[-1]] = copy.deepcopy(value_at(tree, other))  # a subtree in another's place
        case 5:
            theirs = copy.deepcopy(value_at(tree, other))
            ours = copy.deepcopy(within[path[-1]])
            within[path[-1]] = theirs
            if other[: len(path)] != path and path[: len(other)] != other:
                put(tree, other, ours)
        case 6:
            if isinstance(within, list):
                within.insert(rng.randrange(len(within) + 1), copy.deepcopy(value_at(tree, path)))
            else:
                within[rng.choice(["x", str(other[-1]), f"{path[-1]}s"])] = within.pop(path[-1])
        case 7:
            key = rng.choice([each[-1] for each in places if isinstance(each[-1], str)])
            if isinstance(within, dict):
                within[key] = copy.deepcopy(value_at(tree, other))


def cut(text: str, rng: random.Random) -> str:
    """Change the text itself: cut it, double a line, or put a character in."""
    at, to = sorted(rng.randrange(len(text) + 1) for _ in range(2))
    lines = text.splitlines(keepends=True)
    place = rng.randrange(len(lines))
    match rng.randrange(5):
        case 0:
            return text[:at]
        case 1:
            return text[:at] + text[to:] if to - at < 60 else text[:at] + text[at + 1 :]
        case 2:
            return "".join([*lines[:place], lines[place], *lines[place:]])
        case 3:
            return "".join([*lines[:place], *lines[place + 1 :]])
        case _:
            return text[:at] + rng.choice("{}[]:,-#&*!|>'\"%@` \n\t\x00\x85é0") + text[at:]


def mutant(text: str, seed: int) -> str:
    """Return the scenario *text* with some changes that depend on *seed* only."""
    rng = random.Random(seed)
    if rng.random() < 0.2:
        return cut(text, rng)
    tree = yaml.safe_load(text)
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        mutate(tree, rng)
    return yaml.safe_dump(tree, sort_keys=False, allow_unicode=True)
