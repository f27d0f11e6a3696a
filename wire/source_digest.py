"""A digest of the source files that a module imports.

A cached result depends on the code that made it. The files are found by reading import statements, also those
inside functions, so the list cannot become out of date.
"""

import ast
import hashlib
from collections.abc import Collection, Iterator
from pathlib import Path

_ROOT = Path(__file__).parents[1]
"""The folder of the packages."""


def imported_modules(
    roots: Collection[str], excluded: Collection[str] = (), *, within: Collection[str] | None = None
) -> dict[str, Path]:
    """Return the source file of each product module that *roots* import, directly or not, sorted by name.

    Args:
        roots: names of modules.
        excluded: modules and packages that are left out, and their imports with them.
        within: the modules and packages that count; None: all.
    """
    files: dict[str, Path] = {}
    waiting = list(roots)
    while waiting:
        name = waiting.pop()
        counts = (within is None or is_below(name, within)) and not is_below(name, excluded)
        file = _file_of(name) if counts and name not in files else None
        if file is not None:
            files[name] = file
            waiting += _imports(file)
            waiting += name.rpartition(".")[:1]  # the package is imported first
    return dict(sorted(files.items()))


def is_below(name: str, packages: Collection[str]) -> bool:
    """Tell whether the module *name* is one of *packages* or lies in one."""
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def digest_files(files: dict[str, Path]) -> bytes:
    """Return a hash of *files* and their names."""
    digest = hashlib.sha256()
    for name, file in files.items():
        digest.update(name.encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.digest()


def _imports(file: Path) -> Iterator[str]:
    """Yield the names that a file imports; a name imported from a package may be a module."""
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _file_of(name: str) -> Path | None:
    """Return the source file of a product module; None for any other name."""
    base = _ROOT.joinpath(*name.split("."))
    candidates = (base / "__init__.py", base.with_name(f"{base.name}.py")) if name else ()
    packaged = (_ROOT / name.partition(".")[0] / "__init__.py").exists()
    return next((file for file in candidates if packaged and file.exists()), None)
