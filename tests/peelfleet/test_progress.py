"""Progress in a notebook: few pictures, none of them older than what it shows."""

from emulator.progress.views import PacedView
from peelfleet.notebook_view import NotebookView, in_notebook


class Pictures:
    """A view that keeps what it is shown."""

    def __init__(self) -> None:
        self.shown: list[tuple[object, ...]] = []

    def show(self, stage: str, done: float, total: float, note: str) -> None:
        self.shown.append((stage, done, total, note))

    def end(self, *, completed: bool) -> None:
        self.shown.append(("end", completed))


def test_steps_in_quick_succession_are_shown_by_their_first_and_last() -> None:
    pictures = Pictures()
    view = PacedView(pictures)
    for done in range(1000):
        view.show("simulate", done, 2000, f"{done} s")
    view.show("report", 0, 1, "writing")
    view.end(completed=True)
    shown = pictures.shown
    assert shown[0] == ("simulate", 0, 2000, "0 s")
    assert shown[-3:] == [("simulate", 999, 2000, "999 s"), ("report", 0, 1, "writing"), ("end", True)]
    assert len(shown) < 100


def test_a_program_outside_a_notebook_knows_that() -> None:
    assert not in_notebook()
    NotebookView().end(completed=True)  # without a stage nothing is drawn
