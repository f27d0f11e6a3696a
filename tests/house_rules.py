"""Checks the rules of the house that a program can check; `make check` runs it.

Circles of imports are import-linter's task. Here are the others: docstrings begin with a verb or name the
thing, a class name is defined once, files and functions are short.
"""

import ast
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
PRODUCT: Final = ("wire", "cloud", "devices", "broker_config", "scenarios", "emulator", "peelfleet")
CLAUSES: Final = frozenset(
    ("What", "Who", "When", "Where", "Whether", "Which", "Whose", "Whom", "Why", "How", "That", "If")
)
"""First words of docstrings that are clauses: they neither begin with a verb nor name the thing."""
MOST_FILE_LINES: Final = 400
MOST_FUNCTION_LINES: Final = 60
"""With signature and docstring."""

Definition = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def main() -> int:
    """Print each broken rule; return 1 if there is one."""
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in product_files()}
    found = [
        text
        for path, tree in trees.items()
        for text in (*clauses(path, tree), *long_file(path), *long_functions(path, tree))
    ]
    found += duplicate_classes(trees)
    for text in found:
        print(text)  # noqa: T201
    return int(bool(found))


def product_files() -> list[Path]:
    """Return the Python files of the product."""
    return sorted(path for package in PRODUCT for path in (ROOT / package).rglob("*.py"))


def clauses(path: Path, tree: ast.Module) -> Iterator[str]:
    """Yield the docstrings of a file that begin with a clause, those below fields and constants included."""
    for line, text in docstrings(tree):
        first = text.split(maxsplit=1)[0].rstrip(",.:;") if text.strip() else ""
        if first in CLAUSES:
            yield f"{shown(path)}:{line}: the docstring must begin with a verb or name the thing, not {first}"


def docstrings(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield the line and the text of each string that stands alone: docstrings of all kinds."""
    for node in ast.walk(tree):
        if isinstance(node, Definition):
            for part in node.body:
                value = part.value if isinstance(part, ast.Expr) else None
                if isinstance(value, ast.Constant) and isinstance(value.value, str):
                    yield part.lineno, value.value


def duplicate_classes(trees: Mapping[Path, ast.Module]) -> Iterator[str]:
    """Yield the class names that are defined more than once."""
    places = defaultdict(list)
    for path, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(f"{shown(path)}:{node.lineno}")
    for name, defined in sorted(places.items()):
        if len(defined) > 1:
            yield f"{defined[1]}: class {name} must have another name than that of {defined[0]}"


def long_file(path: Path) -> Iterator[str]:
    """Yield a line if the file is too long."""
    lines = len(path.read_text(encoding="utf-8").splitlines())
    if lines > MOST_FILE_LINES:
        yield f"{shown(path)}: the file (={lines} lines) must have at most {MOST_FILE_LINES} lines"


def long_functions(path: Path, tree: ast.Module) -> Iterator[str]:
    """Yield the functions of a file that are too long."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > MOST_FUNCTION_LINES:
                yield (
                    f"{shown(path)}:{node.lineno}: {node.name} (={lines} lines) must have at most "
                    f"{MOST_FUNCTION_LINES} lines"
                )


def shown(path: Path) -> str:
    """Return the path as people write it."""
    return path.relative_to(ROOT).as_posix()


if __name__ == "__main__":
    sys.exit(main())
