"""Scenario files: text to `Scenario` and back, and the files that come with peelfleet.

Every error is an `InputError` of one line: the place, the dotted path, the value and the rule.
"""

import difflib
import itertools
import os
import re
from collections.abc import Sequence
from math import inf
from pathlib import Path

import msgspec
import yaml

from devices.memory import Replay
from devices.simulated.roster import FleetGroup
from devices.traces.availability import Availability
from scenarios.language.decode import decode
from scenarios.language.overrides import apply_all
from scenarios.language.scenario import Scenario
from scenarios.language.schema import with_paths
from scenarios.language.types import plain
from scenarios.language.yaml_scalars import is_plain_text
from scenarios.language.yaml_tree import MAX_CHARACTERS, MAX_DEPTH, MAX_VALUES, read_tree
from wire.errors import InputError
from wire.input_files import read_at_most

MAX_FILE_BYTES = 4 * MAX_CHARACTERS
"""No character has more than four bytes in UTF-8."""
_NAME = re.compile(r"[\w.-]{1,64}")
"""The name of a scenario that comes with peelfleet: letters, digits, points and hyphens."""


def load(path: Path, overrides: Sequence[str] = ()) -> Scenario:
    """Read the scenario file *path*; *overrides* are ``key=value``, as after ``--set``.

    Raises:
        InputError: the file cannot be read, or is not a valid scenario.
    """
    path = located(path)
    scenario = with_files_beside(parse(read(path), str(path), overrides), path.parent)
    check_readable(scenario, str(path))
    return scenario


def parse(text: str, where: str = "scenario", overrides: Sequence[str] = ()) -> Scenario:
    """Read the scenario *text*; errors name it *where*. Pure.

    Raises:
        InputError: the text is not a valid scenario.
    """
    tree = read_tree(text, where)
    return decode(tree, apply_all(tree, overrides))


def dump(scenario: Scenario, without: Sequence[str] = ()) -> str:
    """Return *scenario* as YAML with all defaults; `parse` reads it back as the same.

    Args:
        scenario: the scenario.
        without: keys to leave out.
    """
    values = plain(scenario)
    for key in without:
        del values[key]
    if scenario.sweep is None:
        del values["sweep"]  # not part of one run
    for key in (
        "sample",
        "prices",
        "metrics",
        "interactions",
        "retrain",
    ):  # so that a run without them is what it always was
        if values[key] in (None, ()):
            del values[key]
    return yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)


def flow_text(value: object) -> str:
    """Return *value*, of plain lists, mappings and scalars, as one line of YAML."""
    text = yaml.dump(
        value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=True, width=inf
    )
    return text.removesuffix("\n").removesuffix("\n...")


def check_readable(scenario: Scenario, where: str | None = None) -> None:
    """Check before a run that the resolved *scenario*, with all defaults written out, can be read again.

    Args:
        scenario: resolved.
        where: its name in errors; None: the name of the scenario.

    Raises:
        InputError: it is too large.
    """
    values, characters = _size(plain(scenario))
    if characters > MAX_CHARACTERS // 4:  # else it is certainly small enough
        characters = len(dump(scenario))
    for count, most, noun in (
        (characters, MAX_CHARACTERS, "characters"),
        (values, MAX_VALUES, "values"),
    ):
        if count > most:
            raise InputError(
                f"{where or scenario.name}: has {count} {noun} with every default written out; at most "
                f"{most} can be read again"
            )


def _size(value: object) -> tuple[int, int]:
    """Return the number of values in *value*, and a bound on their characters as YAML."""
    if isinstance(value, dict):
        sizes = [_size(inner) for inner in value.values()]
        keys = sum(6 * len(str(key)) for key in value)
    elif isinstance(value, list | tuple):
        sizes, keys = [_size(inner) for inner in value], 0
    else:
        return 1, 2 * MAX_DEPTH + 6 * len(str(value)) + 3
    return 1 + sum(count for count, _ in sizes), 2 * MAX_DEPTH + keys + sum(size for _, size in sizes)


def shipped() -> tuple[Path, ...]:
    """Return the scenario files that come with peelfleet, in the order of their names."""
    return tuple(sorted(Path(__file__).parents[1].glob("*.yaml")))


def located(path: Path) -> Path:
    """Return *path*, or the scenario of that name that comes with peelfleet.

    A file at *path* wins over a shipped scenario of its name, a folder does not.

    Raises:
        InputError: neither exists; the message suggests a name.
    """
    if path.name != str(path) or (os.path.exists(path) and not os.path.isdir(path)):
        return path
    names = {file.stem: file for file in shipped()}
    stem = path.name.removesuffix(".yaml")
    if stem in names:
        return names[stem]
    if os.path.exists(path) or not _NAME.fullmatch(stem):
        return path
    meant = difflib.get_close_matches(stem, names, n=1)
    hint = f"did you mean {meant[0]!r}? " if meant else ""
    raise InputError(
        f"{path}: no such file, and no scenario of that name comes with peelfleet; "
        f"{hint}`peelfleet scenarios` lists them"
    )


def headline(path: Path) -> str:
    """Return the headline of the scenario *path*: the first paragraph of its header comment."""
    header = (line.removeprefix("#").strip() for line in read(path).splitlines() if line.startswith("#"))
    return " ".join(itertools.takewhile(bool, header))


def with_files_beside(scenario: Scenario, folder: Path) -> Scenario:
    """Return *scenario* with the paths of those files that are in *folder*, that of the scenario."""
    fleet = tuple(_with_traces_beside(group, folder) for group in scenario.fleet)
    model = with_paths(scenario.model, lambda name: str(folder / name) if (folder / name).exists() else name)
    return msgspec.structs.replace(scenario, fleet=fleet, model=model)


def _with_traces_beside(group: FleetGroup, folder: Path) -> FleetGroup:
    traces = {
        name: msgspec.structs.replace(value, file=str(folder / value.file))
        for name, value in msgspec.structs.asdict(group).items()
        if isinstance(value, Replay | Availability) and (folder / value.file).exists()
    }
    return msgspec.structs.replace(group, **traces)


def read(path: Path) -> str:
    """Return the text of the scenario file *path*.

    Raises:
        InputError: the file cannot be read.
    """
    try:
        content = read_at_most(path, MAX_FILE_BYTES, "a scenario", pipes=True)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except InputError:
        if path.is_dir():
            raise InputError(f"{path}: is a folder, not a scenario file") from None
        raise
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"{path}: cannot be read: {reason}") from None
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(f"{path}:{line}: byte {content[error.start]:#04x} is not UTF-8 text") from None


class _Dumper(yaml.SafeDumper):
    """A dumper that quotes text that `read_plain` would not read as text, and writes no aliases."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def _represent_text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=_style(text))


def _style(text: str) -> str | None:
    if not text.replace("\n", "").isprintable():
        return '"'  # the only style with escapes: YAML has more line breaks than "\\n"
    if re.fullmatch(r"(\S.*\n)+(\S.*)?", text):
        return "|"
    return None if is_plain_text(text) else "'"


_Dumper.add_representer(str, _represent_text)
