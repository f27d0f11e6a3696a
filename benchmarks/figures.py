"""The files of figures that benchmarks write, and their verdicts on limits."""

from collections.abc import Sequence
from pathlib import Path

import msgspec

OUT = Path(__file__).parent / "out"


def write(name: str, figures: dict[str, object]) -> Path:
    """Write *figures* to ``benchmarks/out/<name>.json`` and print them."""
    OUT.mkdir(exist_ok=True)
    file = OUT / f"{name}.json"
    file.write_bytes(msgspec.json.format(msgspec.json.encode(figures), indent=2) + b"\n")
    for key, value in figures.items():
        print(f"{key:<44} {value:,.3f}" if isinstance(value, float) else f"{key:<44} {value}")
    print(f"-> {file}\n")
    return file


def verdict(broken: Sequence[str]) -> int:
    """Print which promises are *broken*; return the exit status."""
    for promise in broken:
        print(f"BROKEN: {promise}")
    return 1 if broken else 0
