"""A file with several mistakes says all of them at once, a line each, in the order of the file."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scenarios.language.decode import MOST_ERRORS
from scenarios.language.load import parse, shipped
from scenarios.language.sweep_expansion import expand
from tests.scenarios.mutations import mutant
from wire.errors import InputError

FILE = """\
version: 1
name: phones
stop_time: 10 min
seed: no
warmup: 20 min
fleet:
  - name: phone
    count: many
    network: wify
  - name: box
    conut: 3
    memory: {type: bounded_walk, min: 9 GiB, max: 8 GiB}
    budget: {share: 120 %}
  - name: tv
    count: 1
    start_within: 11 min
networks:
  wifi: {downlink: {bandwidth: 5}}
actions:
  - {type: swap_network, at: 99 min, to: lte, select: {groups: [tv]}}
updates:
  retry_after: 10
  headroom: 100 %
  hysteresis: -1 %
thresholds:
  update_latency_secnds: [p(95)<2s]
  update_latency_seconds: [q(95)<2s, p(95)<2B]
extra: 1
"""
SMALL = "version: 1\nname: x\nstop_time: 1 min\nfleet: [{name: a, count: 1}]\n"


def refusals(text: str, *overrides: str) -> tuple[str, ...]:
    with pytest.raises(InputError) as refusal:
        parse(text, "x.yaml", overrides)
    return refusal.value.lines


def test_a_file_with_many_mistakes_says_each_once_in_its_order() -> None:
    lines = refusals(FILE, "seed=1", "updates.supersede=7", "nodes.default.memry=1 GiB")
    assert [line.partition(" (")[0].partition("; ")[0] for line in lines] == [
        "x.yaml:5: warmup",
        "x.yaml:8: fleet[0].count",
        "x.yaml:10: fleet[1]: missing key 'count'",
        "x.yaml:11: fleet[1]: unknown key 'conut'",
        "x.yaml:12: fleet[1].memory.min",
        "x.yaml:13: fleet[1].budget.share",
        "x.yaml:18: networks.wifi.downlink.bandwidth: cannot read 5 as a data rate: write for example "
        "'5 Mbps'",
        "x.yaml:20: actions[0].type",
        "x.yaml:22: updates.retry_after: cannot read 10 as a duration: write for example '250 ms'",
        "x.yaml:23: updates.headroom",
        "x.yaml:24: updates.hysteresis: cannot read '-1 %' as a share: write for example '5 %' or 0.05",
        "x.yaml:26: thresholds.update_latency_secnds",
        "x.yaml:27: thresholds.update_latency_seconds[0]",
        "x.yaml:27: thresholds.update_latency_seconds[1]",
        "x.yaml:28: unknown key 'extra'",
        "--set updates.supersede=7: updates.supersede",
        "--set nodes.default.memry=1 GiB: nodes.default: unknown key 'memry'",
    ]


def test_what_hangs_on_a_broken_part_is_seen_when_that_is_mended() -> None:
    """No message is a consequence of another: the network and the start are judged when the fleet can be."""
    mended = {
        4: "seed: 4", 5: "warmup: 1 min", 8: "    count: 2", 10: "  - name: box", 11: "    count: 3",
        12: "    memory: {type: bounded_walk, min: 1 GiB, max: 2 GiB}", 13: "    budget: {share: 10 %}",
        18: "  wifi: {}", 20: "  - {type: network, at: 99 min, to: lte, select: {groups: [vt]}}",
        22: "  retry_after: 10 s", 23: "  headroom: 1 %", 24: "  hysteresis: 1 %",
        26: "  update_bytes{kind=wasted}: [share<5%]", 27: "  ndcg_at_10: [mean>0.1]", 28: "x-note: 1",
    }  # fmt: skip
    lines = [mended.get(number, line) for number, line in enumerate(FILE.splitlines(), start=1)]
    assert [line.partition(" (")[0] for line in refusals("\n".join(lines))] == [
        "x.yaml:9: fleet[0].network",
        "x.yaml:16: fleet[2].start_within",
        "x.yaml:20: actions[0].at",
        "x.yaml:20: actions[0].select.groups[0]",
        "x.yaml:20: actions[0].to",
    ]


def test_every_combination_of_a_sweep_is_tried_and_the_same_mistake_said_once() -> None:
    text = SMALL + "sweep: {grid: {'fleet[0].count': [0, 1, -1], warmup: [1 d, 2 d]}}"
    with pytest.raises(InputError) as refusal:
        expand(text, "x.yaml")
    assert [line.split(": ", 1)[1].partition(" must")[0] for line in refusal.value.lines] == [
        "x.yaml:5: fleet[0].count (=0)",
        "x.yaml:5: warmup (=1 d)",
        "x.yaml:5: warmup (=2 d)",
        "x.yaml:5: fleet[0].count (=-1)",
    ]


def test_no_more_are_said_than_one_can_read() -> None:
    text = SMALL + "".join(f"key{at}: 1\n" for at in range(500))
    lines = refusals(text)
    assert (len(lines), lines[-1]) == (MOST_ERRORS + 1, f"and more errors: these are {MOST_ERRORS}")


@pytest.mark.parametrize("verb", ["validate", "run", "train"])
def test_each_verb_prints_them_all_with_status_2(verb: str, tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text(SMALL + "seed: -1\nwarmup: x\n")
    done = subprocess.run(
        [sys.executable, "-m", "emulator.cli", verb, str(file)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert [line.removeprefix(f"peelfleet: {file}:")[:8] for line in done.stderr.splitlines()] == [
        "5: seed ",
        "6: warmu",
    ]


GOOD = {path.name: path.read_text() for path in shipped()}


@settings(deadline=None)
@given(st.sampled_from(sorted(GOOD)), st.integers(0, 2**32))
def test_of_a_mutated_file_every_line_is_whole_and_none_is_said_twice(name: str, seed: int) -> None:
    try:
        parse(mutant(GOOD[name], seed), "x.yaml")
        lines: tuple[str, ...] = ()
    except InputError as error:
        lines = error.lines
    assert len(set(lines)) == len(lines)
    assert all(line.startswith("x.yaml") and line.isprintable() for line in lines)


def test_a_key_that_is_misspelt_or_given_twice_hides_no_other_mistake_and_makes_none() -> None:
    text = SMALL.replace("stop_time", "stop_tme") + "seed: 1\nseed: 2\nwarmup: 1 d\nclock: real\n"
    assert refusals(text) == (
        "x.yaml:3: unknown key 'stop_tme'; did you mean 'stop_time'?",
        "x.yaml:6: seed: key given twice, first at x.yaml:5",
        "x.yaml:8: clock (='real') must be one of lockstep, realtime, virtual; did you mean 'realtime'?",
    )


def test_of_very_many_mistakes_only_some_are_looked_for() -> None:
    """Each names what is there: all of them, for all names, would take minutes."""
    groups = ", ".join(f"{{name: g{at}, count: 1, network: n{at}}}" for at in range(2000))
    networks = ", ".join(f"w{at}: {{}}" for at in range(8000))
    head = "version: 1\nname: x\nstop_time: 1 min\n"
    began = time.process_time()
    lines = refusals(f"{head}fleet: [{groups}]\nnetworks: {{{networks}}}\n")
    assert len(lines) == MOST_ERRORS + 1
    assert time.process_time() - began < 30
