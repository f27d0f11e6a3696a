"""A run that fails leaves the page of the two clocks as it was, and is named in a line."""

from pathlib import Path

import pytest

from benchmarks.clocks_page import PAGE, run_under


def test_a_run_that_fails_is_named_in_a_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file, before = tmp_path / "wrong.yaml", PAGE.read_bytes()
    file.write_text("version: 1\nname: wrong\nseed: many\n")
    with pytest.raises(SystemExit) as ended:
        run_under("virtual", file)
    said = "wrong, virtual clock: the run ended with status 2; realtime.md is as it was"
    assert (ended.value.code, PAGE.read_bytes()) == (said, before)
    assert "Traceback" not in capfd.readouterr().err
