"""YAML text as plain values, each with its place in the text.

Anchors, aliases and merge keys work, within bounds. Refused are: tags, keys
given twice, several documents, and the words of `scenarios.language.yaml_scalars`. Every refusal is an
`InputError` of one line that starts with the place.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NoReturn

import yaml

from scenarios.language.yaml_scalars import AmbiguousError, Scalar, read_plain
from wire.errors import InputError

Value = Scalar | list["Value"] | dict[str, "Value"]
Path = tuple[str | int, ...]

MAX_CHARACTERS = 2**21
MAX_DEPTH = 32
MAX_VALUES = 100_000
MAX_LINE = 400

_PLAIN, _QUOTED, _COLLECTION = "plain", "quoted", "collection"


@dataclass
class Tree:
    """The values of a scenario, and the place of each: ``scenarios/x.yaml:14`` or ``--set seed=3``."""

    value: Value
    places: dict[Path, str]
    implied: set[Path] = field(default_factory=set)
    """Mappings that an override created, inside a part that the file leaves out."""
    wrong: dict[Path, str] = field(default_factory=dict)
    """The errors of values that cannot be used: lines that start with the place. The value itself is None."""

    def place(self, path: Path) -> str:
        """Return the place of *path*, or that of the nearest value around it."""
        while path not in self.places:
            path = path[:-1]
        return self.places[path]


def read_tree(text: str, where: str) -> Tree:
    """Read the YAML document *text* of the file *where*.

    Raises:
        InputError: it is not YAML, or uses YAML that a scenario may not use.
    """
    node = _compose(text, where)
    if node is None:
        raise InputError(f"{where}: is empty; a scenario has at least version, name, stop_time and fleet")
    builder = _Builder(lambda mark: f"{where}:{mark.line + 1}", ignore="x-")
    return Tree(builder.build(node, ()), builder.places, wrong=builder.wrong)


def read_value(text: str, place: str, path: Path) -> Tree:
    """Read *text*, the YAML of one value at *path*; its place is *place*, and its paths are absolute.

    Raises:
        InputError: it is not YAML, or uses YAML that a scenario may not use.
    """
    node = _compose(text, place, lines=False)
    builder = _Builder(lambda _: place)
    builder.places[path] = place
    return Tree(None if node is None else builder.build(node, path), builder.places, wrong=builder.wrong)


def dotted(path: Path) -> str:
    """Return *path* in the form ``fleet[0].memory.min``."""
    text = ""
    for part in path:
        plain = isinstance(part, str) and re.fullmatch(r"[\w-]+", part)
        text += f".{part}" if plain else f"[{part}]"
    return text.removeprefix(".")


def one_line(text: str) -> str:
    """Return *text* without line breaks, shortened if it is too long to read."""
    flat = "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)
    return flat if len(flat) <= MAX_LINE else flat[: MAX_LINE - 1] + "…"


class _Loader(yaml.SafeLoader):
    """A composer whose tags tell only whether a scalar was quoted, or the tag in the text."""

    depth = 0

    def resolve(self, kind: type[yaml.Node], value: str | None, implicit: object) -> str:
        if kind is not yaml.ScalarNode:
            return _COLLECTION
        assert isinstance(implicit, tuple)
        return _PLAIN if implicit[0] else _QUOTED

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.composer.ComposerError(None, None, f"nests deeper than {MAX_DEPTH} levels", mark)
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


def _compose(text: str, where: str, *, lines: bool = True) -> yaml.Node | None:
    def place(line: int) -> str:
        return f"{where}:{line + 1}" if lines else where

    if len(text) > MAX_CHARACTERS:
        raise InputError(f"{where}: has {len(text)} characters; a scenario has at most {MAX_CHARACTERS}")
    try:
        return yaml.compose(text.removeprefix("\ufeff"), Loader=_Loader)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position)
        raise InputError(f"{place(line)}: character {error.character:#x} is not allowed in YAML") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise InputError(f"{place(mark.line if mark else 0)}: {_problem(error)}") from None


def _problem(error: yaml.MarkedYAMLError) -> str:
    problem = error.problem or "unreadable"
    if problem == "but found another document":
        return "a second document starts here; a scenario is one"
    if "'\\t'" in problem:
        return "a tab is not allowed here: indent and separate with spaces"
    if isinstance(error, yaml.composer.ComposerError):
        return one_line(problem)
    return one_line(f"not valid YAML: {problem}" + (f" {error.context}" if error.context else ""))


class _Builder:
    """Builds the value of a node.

    Args:
        place: returns the name of a place in the text.
        ignore: prefix of top-level keys that are left out; "" for none.
    """

    def __init__(self, place: Callable[[yaml.Mark], str], ignore: str = "") -> None:
        self.places: dict[Path, str] = {}
        self.wrong: dict[Path, str] = {}
        self._place = place
        self._ignore = ignore
        self._values = 0
        self._open: set[int] = set()

    def build(self, node: yaml.Node, path: Path) -> Value:
        """Return the value of *node* at *path*."""
        self.places.setdefault(path, self._place(node.start_mark))
        with self._inside(node, path):
            if isinstance(node, yaml.ScalarNode):
                return self._value(node, path)
            if isinstance(node, yaml.SequenceNode):
                return [self.build(item, (*path, at)) for at, item in enumerate(node.value)]
            assert isinstance(node, yaml.MappingNode)
            return self._mapping(node, path)

    def _value(self, node: yaml.ScalarNode, path: Path) -> Scalar:
        """Return the value of *node*; collect its error, so that all errors are reported at once."""
        try:
            return self._scalar(node, dotted(path))
        except InputError as error:
            self.wrong[path] = str(error)
            return None

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Value]:
        value: dict[str, Value] = {}
        for key, (key_node, value_node) in self._pairs(node, path).items():
            if path or not self._ignore or not key.startswith(self._ignore):
                self.places[(*path, key)] = self._place(key_node.start_mark)
                value[key] = self.build(value_node, (*path, key))
        return value

    def _pairs(self, node: yaml.MappingNode, path: Path) -> dict[str, tuple[yaml.Node, yaml.Node]]:
        """Return the keys of *node* and of the mappings that it merges: its own keys win.

        A key that is merged counts as a value that an alias brings, wherever it is used in the end.
        """
        own: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        merged: yaml.Node | None = None
        for key_node, value_node in node.value:
            self._count(key_node)
            merges = key_node.tag == _PLAIN and key_node.value == "<<"
            key = "<<" if merges else self._key(key_node, path)
            if key in own:
                first = self._place(own[key][0].start_mark)
                text = one_line(f"{dotted((*path, key))}: key given twice, first at {first}")
                self.wrong[(*path, key)] = f"{self._place(key_node.start_mark)}: {text}"
                continue
            own[key] = (key_node, value_node)
            merged = value_node if merges else merged
        if merged is not None:
            del own["<<"]
            found = [own]
            for source in self._sources(merged, path):
                with self._inside(source, path):
                    found.append(self._pairs(source, path))
            own = {key: pair for each in reversed(found) for key, pair in each.items()}
        return own

    def _sources(self, node: yaml.Node, path: Path) -> list[yaml.MappingNode]:
        """Return the mappings that ``<<`` refers to."""
        sources = node.value if isinstance(node, yaml.SequenceNode) else [node]
        for source in sources:
            if not isinstance(source, yaml.MappingNode):
                self._refuse(source, f"{dotted((*path, '<<'))} must be a mapping, or a list of mappings")
        return list(sources)

    def _key(self, node: yaml.Node, path: Path) -> str:
        inside = f"{dotted(path)}: " if path else ""
        if not isinstance(node, yaml.ScalarNode):
            self._refuse(node, f"{inside}a key must be one word of text")
        key = self._scalar(node, f"{inside}key")
        if not isinstance(key, str):
            self._refuse(node, f"{inside}key (={node.value}) must be text: quote it")
        return key

    def _scalar(self, node: yaml.ScalarNode, what: str) -> Scalar:
        if node.tag not in (_PLAIN, _QUOTED):
            self._refuse(node, f"{what}: {_tag(node)}")
        if node.tag == _QUOTED:
            return str(node.value)
        try:
            return read_plain(node.value)
        except AmbiguousError as error:
            self._refuse(node, f"{what} (={node.value}) {error}")

    @contextmanager
    def _inside(self, node: yaml.Node, path: Path) -> Iterator[None]:
        """Limit the depth and the number of values that anchors can expand to."""
        self._count(node)
        if len(self._open) > 2 * MAX_DEPTH:
            self._refuse(node, f"aliases nest deeper than {MAX_DEPTH} levels")
        if id(node) in self._open:
            self._refuse(node, f"{dotted(path)}: contains itself through an alias")
        if not isinstance(node, yaml.ScalarNode) and node.tag != _COLLECTION:
            self._refuse(node, f"{dotted(path)}: {_tag(node)}" if path else _tag(node))
        self._open.add(id(node))
        yield
        self._open.discard(id(node))

    def _count(self, node: yaml.Node) -> None:
        self._values += 1
        if self._values > MAX_VALUES:
            self._refuse(node, f"aliases expand to more than {MAX_VALUES} values")

    def _refuse(self, node: yaml.Node, text: str) -> NoReturn:
        raise InputError(f"{self._place(node.start_mark)}: {one_line(text)}")


def _tag(node: yaml.Node) -> str:
    tag = node.tag.replace("tag:yaml.org,2002:", "!!")
    return f"tag {tag} is not allowed: write the value plainly, text in quotes"
