"""Progress in a notebook: a small table that is drawn again in its own output."""

import sys
from dataclasses import dataclass
from html import escape
from typing import Any


@dataclass
class _Stage:
    done: float
    total: float
    note: str


class NotebookView:
    """A view of progress in the output of a notebook's cell. It needs IPython only, no widgets."""

    def __init__(self) -> None:
        self._stages: dict[str, _Stage] = {}
        self._output: Any = None  # a display handle of IPython

    def show(self, stage: str, done: float, total: float, note: str) -> None:
        """Draw how far *stage* is; the stages before it are done."""
        if stage not in self._stages:
            self._fill()
        self._stages[stage] = _Stage(done, total, note)
        self._draw()

    def end(self, *, completed: bool) -> None:
        """Draw the end; if it is *completed*, with full bars."""
        if completed and self._stages:
            self._fill()
            self._draw()

    def _fill(self) -> None:
        for stage in self._stages.values():
            stage.done = stage.total

    def _draw(self) -> None:
        from IPython.display import HTML, display  # there is one where there is a notebook

        if self._output is None:
            self._output = display(HTML(self._html()), display_id=True)
        else:
            self._output.update(HTML(self._html()))

    def _html(self) -> str:
        rows = "".join(
            f'<tr><td style="text-align:left">{escape(name)}</td>'
            f'<td><progress value="{stage.done:g}" max="{stage.total or 1:g}"></progress></td>'
            f'<td style="text-align:left">{escape(stage.note)}</td></tr>'
            for name, stage in self._stages.items()
        )
        return f"<table>{rows}</table>"


def in_notebook() -> bool:
    """Tell if the program runs in the kernel of a notebook."""
    module = sys.modules.get("IPython")
    shell = None if module is None else module.get_ipython()
    return getattr(shell, "kernel", None) is not None
