"""Text from files and peers, made safe for a terminal."""

import unicodedata
from typing import Final

MISSING_VALUE: Final = r"([+-]?(nan|inf|infinity)|<na>|#?n/a|na|null|none|nil|\\n|missing|undefined)"
"""A regular expression, for any case, of words for a missing number in files of other programs."""

_OBEYED: Final = frozenset(("Cc", "Cf", "Cs", "Zl", "Zp"))
"""The kinds of character that a terminal may obey: control characters, marks of direction, halves of
pairs, separators of lines."""


def printable(text: object, most: int | None = None) -> str:
    """Return *text* in one line, with escapes for characters that control a terminal.

    Args:
        text: any value; its ``str`` is shown.
        most: the largest number of characters, then ``...``.
    """
    full = str(text)
    cut = full if most is None or len(full) <= most else full[:most] + "..."
    if cut.isascii() and cut.isprintable():
        return cut
    return "".join(_escape(char) if unicodedata.category(char) in _OBEYED else char for char in cut)


def printable_lines(text: str) -> str:
    """Return *text* as `printable` does, with its line breaks."""
    return "\n".join(printable(line) for line in text.split("\n"))


def _escape(char: str) -> str:
    return char.encode("unicode_escape", "surrogatepass").decode("ascii")
