"""A table for people: names of rows and columns, and cells of a mean and the half-width of its interval."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

_LATEX: Final[Mapping[str, str]] = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%",
    "_": r"\_", "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "<": r"\textless{}",
    ">": r"\textgreater{}", "|": r"\textbar{}", "±": r"$\pm$", "×": r"$\times$", '"': "''",
}  # fmt: skip
DIGITS: Final = 4
"""Digits of a number: behind the point for shares, else significant ones."""


@dataclass(frozen=True)
class IntervalCell:
    """A mean, and the half-width of its interval; None where there is none."""

    mean: float | None
    half_width: float | None = None

    def text(self, plus_minus: str = "±") -> str:
        """Return the cell as text; ``-`` where nothing was measured."""
        if self.mean is None:
            return "-"
        if self.half_width is None:
            return number_text(self.mean)
        return f"{number_text(self.mean)} {plus_minus} {number_text(self.half_width)}"


@dataclass(frozen=True)
class PrintedTable:
    """One table, with a caption that says what the intervals are over."""

    caption: str
    corner: str
    """Heading of the names of the rows."""
    columns: Sequence[str]
    rows: Mapping[str, Sequence[IntervalCell]]

    def markdown(self) -> str:
        """Return the table in GitHub's Markdown."""
        head = [self.corner, *self.columns]
        lines = [_markdown_row(head), _markdown_row(["---", *("---:" for _ in self.columns)], raw=True)]
        lines += [_markdown_row([name, *(cell.text() for cell in row)]) for name, row in self.rows.items()]
        return "\n".join([*lines, "", _markdown_text(self.caption), ""])

    def latex(self) -> str:
        """Return the table as a LaTeX ``table`` for the package booktabs; ASCII where the names are."""
        lines = [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{latex_text(self.caption)}}}",
            rf"\begin{{tabular}}{{l{'r' * len(self.columns)}}}",
            r"\toprule",
            _latex_row([self.corner, *self.columns]),
            r"\midrule",
        ]
        lines += [
            " & ".join([latex_text(name), *(cell.text(r"$\pm$") for cell in row)]) + r" \\"
            for name, row in self.rows.items()
        ]
        return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}", ""])


def number_text(value: float) -> str:
    """Return *value* with four digits: behind the point below 10, else significant ones."""
    if abs(value) < 10:
        return f"{value:.{DIGITS}f}"
    return f"{value:,.{max(DIGITS - len(str(int(abs(value)))), 0)}f}"


def latex_text(text: str) -> str:
    """Return *text* for LaTeX, its special characters written out."""
    return "".join(_LATEX.get(char, char) for char in text)


def _latex_row(cells: Sequence[str]) -> str:
    return " & ".join(map(latex_text, cells)) + r" \\"


def _markdown_row(cells: Sequence[str], *, raw: bool = False) -> str:
    return "| " + " | ".join(cells if raw else map(_markdown_text, cells)) + " |"


def _markdown_text(text: str) -> str:
    return re.sub(r"([\\|*_`<>\[\]~])", r"\\\1", text)
