"""The tutorial and two how-tos: every command does what its page says, in the order of the page."""

import json
from pathlib import Path

import pytest

from tests.emulator.cli.test_main import peelfleet
from tests.pages import DOCS, blocks, commands


@pytest.mark.slow
def test_the_tutorial(tmp_path: Path) -> None:
    page = DOCS / "tutorial.md"
    listed, ran, swept, compared = (peelfleet(*args, folder=tmp_path) for args in commands(page))
    assert [done.returncode for done in (listed, ran, swept, compared)] == [0, 0, 0, 0], compared.stderr
    said, told = (" ".join(text.replace("**", "").split()) for text in (ran.stdout, page.read_text()))
    for promise in (
        "Passed.",
        "99 % of the quality of the whole table",
        "18 % of the traffic that full pushes would have cost",
    ):
        assert promise in said
        assert promise in told
    printed = [line.rstrip() for line in swept.stdout.splitlines()]
    table = [line.rstrip() for line in blocks(page, "text")[1].splitlines()]
    assert [line for line in table if line not in printed] == []
    assert "verdict:" in compared.stdout


@pytest.mark.slow
def test_sizing_a_rollout(tmp_path: Path) -> None:
    shown, ran, priced, swept, sampled = (
        peelfleet(*args, folder=tmp_path) for args in commands(DOCS / "size-a-rollout.md")
    )
    assert [done.returncode for done in (shown, ran, priced, swept, sampled)] == [0, 0, 0, 0, 0], (
        sampled.stderr
    )
    assert json.loads(ran.stdout)["rollout"]
    assert json.loads(priced.stdout)["costs"]
    assert "groups=8" in swept.stdout
    (run,) = (tmp_path / "sampled").iterdir()
    summary = json.loads((run / "summary.json").read_text())
    assert (summary["devices"], summary["sampled_devices"]) == (3000, 300)


@pytest.mark.slow
def test_a_gate(tmp_path: Path) -> None:
    page = DOCS / "ci-gate.md"
    (gate,) = blocks(page, "yaml")
    (tmp_path / "gate.yaml").write_text(gate)
    for args in commands(page):
        done = peelfleet(*args, folder=tmp_path)
        assert done.returncode == 0, done.stderr
    assert "Passed. The fleet kept" in " ".join(done.stdout.split())
    broken = peelfleet(
        "run", "gate.yaml", "--set", "thresholds={update_latency_seconds: [p(95)<1ms]}", folder=tmp_path
    )
    assert broken.returncode == 99
