"""Scenario files: text to `Scenario` and back, and the files that come with peelfleet.

Every error is an `InputError` of one line: the place, the dotted path, the value and the rule.
"""

import difflib
import itertools
import os
import re
from collections.abc import Sequence
from pathlib import Path

import msgspec
import yaml

from devices.memory import Replay
from devices.simulated.roster import FleetGroup
from devices.traces.availability import Availability
from scenarios.language.decode import decode
from scenarios.language.overrides import apply_all
from scenarios.language.scenario import Scenario
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
        InputError: it cannot be read, or is no valid scenario.
    """
    path = located(path)
    scenario = with_traces_beside(parse(read(path), str(path), overrides), path.parent)
    check_readable(scenario, str(path))
    return scenario


def parse(text: str, where: str = "scenario", overrides: Sequence[str] = ()) -> Scenario:
    """Read the scenario *text*, which errors call *where*. Pure.

    Raises:
        InputError: it is no valid scenario.
    """
    tree = read_tree(text, where)
    return decode(tree, apply_all(tree, overrides))


def dump(scenario: Scenario) -> str:
    """Return *scenario* as YAML with all defaults; `parse` reads it back as the same."""
    values = plain(scenario)
    if scenario.sweep is None:
        del values["sweep"]  # no part of what one run does
    return yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)


def check_readable(scenario: Scenario, where: str | None = None) -> None:
    """Check, before it is run, that the resolved *scenario* can be read again, all defaults written out.

    Args:
        scenario: resolved.
        where: what errors call it; its name, if None.

    Raises:
        InputError: it is too large.
    """
    values, characters = _size(plain(scenario))
    if characters > MAX_CHARACTERS // 4:  # only then is it worth the time to write it
        characters = len(dump(scenario))
    for found, most, what in (
        (characters, MAX_CHARACTERS, "characters"),
        (values, MAX_VALUES, "values"),
    ):
        if found > most:
            raise InputError(
                f"{where or scenario.name}: has {found} {what} with every default written out; at most "
                f"{most} can be read again"
            )


def _size(value: object) -> tuple[int, int]:
    """Return how many values there are in *value*, and at most how many characters they take as YAML."""
    if isinstance(value, dict):
        sizes = [_size(each) for each in value.values()]
        keys = sum(6 * len(str(key)) for key in value)
    elif isinstance(value, list | tuple):
        sizes, keys = [_size(each) for each in value], 0
    else:
        return 1, 2 * MAX_DEPTH + 6 * len(str(value)) + 3
    return 1 + sum(count for count, _ in sizes), 2 * MAX_DEPTH + keys + sum(size for _, size in sizes)


def shipped() -> tuple[Path, ...]:
    """Return the scenario files that come with peelfleet, in the order of their names."""
    return tuple(sorted(Path(__file__).parents[1].glob("*.yaml")))


def located(path: Path) -> Path:
    """Return the scenario file that *path* means: itself, or the one that comes with peelfleet by that name.

    A file at *path* wins over a shipped scenario of its name, a folder does not.

    Raises:
        InputError: there is neither; says which name may be meant.
    """
    if path.name != str(path) or (os.path.exists(path) and not os.path.isdir(path)):
        return path
    names = {each.stem: each for each in shipped()}
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


def question(path: Path) -> str:
    """Return the question that the scenario *path* answers: the first paragraph of its header comment."""
    header = (line.removeprefix("#").strip() for line in read(path).splitlines() if line.startswith("#"))
    return " ".join(itertools.takewhile(bool, header))


def with_traces_beside(scenario: Scenario, folder: Path) -> Scenario:
    """Return *scenario* with the traces that lie in *folder*, beside its file, found there."""
    fleet = tuple(_with_traces_beside(group, folder) for group in scenario.fleet)
    return msgspec.structs.replace(scenario, fleet=fleet)


def _with_traces_beside(group: FleetGroup, folder: Path) -> FleetGroup:
    played = {
        name: msgspec.structs.replace(value, file=str(folder / value.file))
        for name, value in msgspec.structs.asdict(group).items()
        if isinstance(value, Replay | Availability) and (folder / value.file).exists()
    }
    return msgspec.structs.replace(group, **played)


def read(path: Path) -> str:
    """Return the text of the scenario file *path*.

    Raises:
        InputError: it cannot be read.
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
    """Quotes whatever `read_plain` would not take for text, and writes no aliases."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def _represent_text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=_style(text))


def _style(text: str) -> str | None:
    if not text.replace("\n", "").isprintable():
        return '"'  # the only style with escapes: YAML counts more characters as line breaks than we do
    if re.fullmatch(r"(\S.*\n)+(\S.*)?", text):
        return "|"
    return None if is_plain_text(text) else "'"


_Dumper.add_representer(str, _represent_text)
