"""The figures of a run in the terminal: the five that matter, then the others in groups."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from rich.console import Console
from rich.text import Text

from emulator.cli.terminal_width import print_line, print_prose
from emulator.metrics.shown_figures import FigureGroup, ShownFigure, figure_groups, main_figures

_INDENT: Final = "  "
_GAP: Final = 2
"""Columns between two texts."""


def print_figures(terminal: Console, summary: Mapping[str, object]) -> None:
    """Print the figures of a run; in a wide terminal with the key of each in ``summary.json``."""
    main, groups = main_figures(summary), figure_groups(summary)
    head = f"{summary['scenario']}, seed {summary['seed']}, {summary['clock']} clock"
    print_prose(terminal, head, "bold")
    width = max(map(len, _lines(main, groups, keys=True)))
    for line in _lines(main, groups, keys=width <= terminal.width):
        terminal.print(line, soft_wrap=True)
    if width > terminal.width:
        print_prose(
            terminal, f"{_INDENT}(a terminal of {width} columns shows the keys of summary.json, too)", "dim"
        )
    terminal.print()
    for name, key in (("model", "model_version"), ("event log", "event_log_sha256")):
        if key in summary:
            print_line(terminal, f"{name}: {summary[key]}")


def _lines(main: Sequence[ShownFigure], groups: Sequence[FigureGroup], *, keys: bool) -> Iterator[Text]:
    every = [*main, *(figure for group in groups for figure in group.figures)]
    widths = [
        max((len(getattr(figure, part)) for figure in every), default=0)
        for part in ("label", "text", "interval")
    ]
    for title, figures in (("", main), *((group.title, group.figures) for group in groups)):
        yield Text(title, style="bold")
        for figure in figures:
            yield _line(figure, widths, style="" if title else "bold", keys=keys)


def _line(figure: ShownFigure, widths: Sequence[int], *, style: str, keys: bool) -> Text:
    label, text, interval = widths
    gap = " " * _GAP
    line = Text(f"{_INDENT}{figure.label:<{label}}{gap}")
    line.append(f"{figure.text:>{text}}", style=style)
    if interval:
        line.append(f"{gap}{figure.interval:<{interval}}")
    if keys:
        line.append(f"{gap}{figure.key}", style="dim")
    line.rstrip()
    return line
