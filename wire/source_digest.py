"""The source files that a module needs, found by its imports: what decides what it gives.

A cache is as old as the code that filled it. Which files those are is read from the import statements, also
those inside functions, so that no list of names can fall behind.
"""

import ast
import hashlib
from collections.abc import Collection, Iterator
from pathlib import Path

_ROOT = Path(__file__).parents[1]
"""The folder of our packages."""


def imported_modules(roots: Collection[str], without: Collection[str] = ()) -> dict[str, Path]:
    """Return the source file of each of our modules that *roots* need, by name and in order.

    Args:
        roots: names of modules.
        without: modules and packages that are left out, and what only they need.
    """
    found: dict[str, Path] = {}
    waiting = list(roots)
    while waiting:
        name = waiting.pop()
        left_out = any(name == each or name.startswith(f"{each}.") for each in without)
        file = None if name in found or left_out else _file_of(name)
        if file is not None:
            found[name] = file
            waiting += _imports(file)
            waiting += name.rpartition(".")[:1]  # its package is run before it
    return dict(sorted(found.items()))


def digest_files(files: dict[str, Path]) -> bytes:
    """Return a hash of *files* and their names."""
    digest = hashlib.sha256()
    for name, file in files.items():
        digest.update(name.encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.digest()


def _imports(file: Path) -> Iterator[str]:
    """Yield the names that a file imports; what it takes from a module may be a module itself."""
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _file_of(name: str) -> Path | None:
    """Return the source file of a module of ours; None where it is none of them."""
    base = _ROOT.joinpath(*name.split("."))
    candidates = (base / "__init__.py", base.with_name(f"{base.name}.py")) if name else ()
    packaged = (_ROOT / name.partition(".")[0] / "__init__.py").exists()
    return next((file for file in candidates if packaged and file.exists()), None)
