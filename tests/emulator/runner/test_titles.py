"""A run on data with titles: the report says what is recommended to the users of its example devices."""

import json
import re
from pathlib import Path

import pytest

from emulator.report.page import write_report
from emulator.report.recommended import RECOMMENDED
from emulator.runner.observer import RunObserver
from emulator.runner.runner import RunOptions, RunResult, run
from scenarios.language.load import parse
from tests.emulator.scenarios import TINY
from wire.errors import InputError


class Warnings(RunObserver):
    """Keeps the warnings of a run."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def on_warning(self, text: str) -> None:
        self.texts.append(text)


def run_films(folder: Path, store: Path, observer: RunObserver) -> RunResult:
    """Run a small fleet on films that *folder* has, made here."""
    rows = [f"{user}::{(user * 7 + step * step) % 60}::5::{step}" for user in range(60) for step in range(12)]
    (folder / "ratings.dat").write_text("\n".join(rows) + "\n")
    text = re.sub(r"data: \{.*\}", f"data: {{type: movielens, path: {folder}}}", TINY)
    scenario = parse(text.replace("20 min", "5 min"))
    return run(scenario, RunOptions(folder / "runs", store=store, workers=1), observer)


def test_example_devices_show_films_also_in_a_report_made_again(tmp_path: Path, store_root: Path) -> None:
    films = "".join(f"{film}::Amélie <{film}>::Comedy\n" for film in range(60))
    (tmp_path / "movies.dat").write_bytes(films.encode("latin-1"))
    finished = run_films(tmp_path, store_root, Warnings())
    titles = json.loads((finished.folder / RECOMMENDED).read_text())
    assert {len(films) for films in titles.values()} == {3}
    report = finished.folder / "report.html"
    page = report.read_text()
    for device, shown in titles.items():
        assert re.fullmatch(r"Amélie <\d+>", shown[0])
        assert re.search(rf"{device} \([^)]*\): Amélie (<|&lt;|\\u003c)\d+", page)
    write_report(finished.folder)
    assert report.read_text() == page
    (finished.folder / RECOMMENDED).write_text("[1]")
    with pytest.raises(InputError, match=r"recommended\.json: the run directory is damaged"):
        write_report(finished.folder)


def test_titles_that_cannot_be_read_are_a_warning(tmp_path: Path, store_root: Path) -> None:
    (tmp_path / "movies.dat").write_text("1::Ran\n2\n")
    observer = Warnings()
    finished = run_films(tmp_path, store_root, observer)
    assert not (finished.folder / RECOMMENDED).exists()
    (text,) = (text for text in observer.texts if "titles" in text)
    assert text.startswith(f"the report shows no titles: {tmp_path / 'movies.dat'}")
