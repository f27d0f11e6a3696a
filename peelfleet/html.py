"""Small tables and headings for the output of notebooks."""

from collections.abc import Iterable, Sequence
from html import escape


def html_table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table; all cells are text."""
    lines = [f"<tr>{''.join(f'<th>{escape(name)}</th>' for name in head)}</tr>"]
    lines += [f"<tr>{''.join(f'<td>{escape(str(cell))}</td>' for cell in row)}</tr>" for row in rows]
    return f"<table>{''.join(lines)}</table>"


def html_tiles(tiles: Iterable[tuple[str, str]]) -> str:
    """Return numbers side by side, each above what it is."""
    cells = "".join(
        f'<td style="text-align:left;padding-right:2em"><b style="font-size:1.5em">{escape(number)}</b><br>'
        f"{escape(text)}</td>"
        for number, text in tiles
    )
    return f"<table><tr>{cells}</tr></table>"
