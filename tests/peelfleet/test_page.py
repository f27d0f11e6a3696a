"""docs/python.md and its reference: the programs run, and the reference is that of the code."""

import contextlib
import io
from pathlib import Path

import pytest

from tests import python_reference
from tests.pages import blocks

PAGE = Path(__file__).parents[2] / "docs" / "python.md"


def test_the_reference_is_that_of_the_code() -> None:
    assert python_reference.PAGE.read_text(encoding="utf-8") == python_reference.page(), "run make docs"


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_the_programs_of_the_page_run_one_after_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)  # the folder of a script is there, too
    monkeypatch.setenv("PEELFLEET_STORE", str(tmp_path / "store"))
    names: dict[str, object] = {}
    printed = io.StringIO()
    for block in blocks(PAGE, "python"):
        with contextlib.redirect_stdout(printed):
            exec(compile(block, "docs/python.md", "exec"), names)
    said = printed.getvalue()
    assert "--set fleet[0].count=-1: fleet[0].count (=-1) must be a whole number" in said
    assert "updates.retry_after: 10 s -> 30 s" in said
    assert "'kind': 'policies', 'name': 'cheapest', 'package': 'my_policies'" in said
    assert (tmp_path / "latency.html").exists()
