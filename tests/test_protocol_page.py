"""docs/protocol.md and what lies beside it: topics, examples, the worked example, the programs."""

import fnmatch
import json
import re
import subprocess
import sys
from itertools import chain, product
from pathlib import Path

import pytest

from cloud.service.announcement import ECHO_S
from cloud.service.report_queue import AdmissionLimits
from devices.protocol.report_policy import (
    LEAST_REFUSAL_WAIT_NS,
    LONGEST_REFUSAL_WAIT_NS,
    MANY_REFUSALS,
    SILENCE_JITTER,
    silence_wait_ns,
)
from devices.standalone.pee_holder import MODEL_SETTLE_S
from devices.standalone.settings import DeviceSettings
from tests.pages import blocks
from tests.protocol_examples import SUFFIXES
from wire.errors import Reason
from wire.geometry import MAX_BLOCKS
from wire.messages import MAX_JSON_BYTES
from wire.mqtt.backoff import FIRST_RETRY_S, LAST_RETRY_S, LASTING_S
from wire.mqtt.connection import KEEP_ALIVE_S
from wire.prometheus.http_server import LONGEST_S, MOST_CONNECTIONS
from wire.topics import TABLE, MessageKind, Role, subscription
from wire.units import NS_PER_S
from wire.update_part import DEFAULT_MAX_PAYLOAD, MAX_HEADER_BYTES, MAX_PART_BYTES, TENSOR_TYPES

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "docs" / "examples"
FILE = ROOT / "docs" / "protocol.md"
PAGE = FILE.read_text()


def run(*command: object) -> str:
    done = subprocess.run(list(map(str, command)), cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_topics_are_those_of_the_table() -> None:
    rows = re.findall(r"^\| `(peel/1/[^`]*)` \| (\w+).*? \| (\d) \| (no|yes) \|", PAGE, re.MULTILINE)
    expected = []
    for kind, route in TABLE.items():
        topic = subscription(kind, "F", "D").replace("+/+/+", "<model>/<group>/<layer>")
        topic = topic.replace("+", "<replica>")
        sender = "cloud" if Role.CLOUD in route.writers else "device"
        shown = topic.replace("/F", "/<fleet>").replace("/D", "/<device>")
        expected.append((shown, sender, str(route.qos), "yes" if route.retained else "no"))
    assert sorted(rows) == sorted(expected)
    assert len(rows) == len(MessageKind)


def test_the_report_that_it_shows_is_an_example() -> None:
    names = ("report-growth", "error-unknown_user", "rollout-running")
    assert blocks(FILE, "json") == [
        f"{(EXAMPLES / name).with_suffix('.json').read_text()}\n" for name in names
    ]


def test_the_tensors_are_in_the_order_of_the_container() -> None:
    rows = re.findall(
        r"^\| ((?:`\w+`(?:, )?)+) \| ([UF]\d+) \|", PAGE.split("## The PEE file")[0], re.MULTILINE
    )
    assert [(name, kind) for names, kind in rows for name in re.findall(r"\w+", names)] == [
        *TENSOR_TYPES.items()
    ]


def test_the_limits_are_those_of_the_code() -> None:
    limits = AdmissionLimits()
    for words in (
        f"| {limits.rate:g} a second in the long run, {limits.burst} at once (`--max-rate`)",
        f"| {limits.max_queue:,} (`--max-queue`)",
        f"| a JSON message | {MAX_JSON_BYTES} bytes |",
        f"| a part's header | {MAX_HEADER_BYTES} bytes |",
        f"| {DEFAULT_MAX_PAYLOAD // 1024} KiB (`--max-payload`), {MAX_PART_BYTES // 2**20} MiB at most |",
        f"| blocks of a model | {MAX_BLOCKS:,} |",
        f"Keep-alive {KEEP_ALIVE_S} s.",
        f"{FIRST_RETRY_S:g} s, doubled with each attempt that fails in a row, at most {LAST_RETRY_S:g} s",
    ):
        assert words in " ".join(PAGE.split("\n")), words


def test_the_waits_are_those_of_the_code() -> None:
    service, agent = ((ROOT / "docs" / name).read_text() for name in ("service.md", "agent.md"))
    refusals = (
        f"Where {MANY_REFUSALS} answers in a row are refused and bring no block, wait "
        f"{LEAST_REFUSAL_WAIT_NS // NS_PER_S} s before the next report, then twice as long, up to a minute"
    )
    retry_ns = int(DeviceSettings("f", "d", 0, None).retry_s * NS_PER_S)
    assert SILENCE_JITTER == 0.5  # half as much again, in words
    assert LONGEST_REFUSAL_WAIT_NS / NS_PER_S == LASTING_S == 60.0  # a minute, in words
    for words, page in (
        (f"wait a moment (`peelfleet agent`: {MODEL_SETTLE_S:g} s) after a notice", PAGE),
        (refusals, PAGE),
        (
            f"| no complete answer within {silence_wait_ns(1, retry_ns) / NS_PER_S:g} s, and up to half as "
            "much again, which is drawn",
            PAGE,
        ),
        (f"and so on up to {silence_wait_ns(99, retry_ns) / NS_PER_S / 60:g} min", PAGE),
        ("that lasted less than a minute counts as an attempt that failed", PAGE),
        (f"notice back within {ECHO_S:g} s", service),
        (f"At most {MOST_CONNECTIONS} connections at once, each for {LONGEST_S:g} s", service),
        (
            f"if the PEE is not held within this time, {DeviceSettings('f', 'd', 0, None).give_up_s:g} s",
            agent,
        ),
    ):
        assert words in " ".join(page.split()), words


def test_each_rule_has_a_number_of_its_own_and_those_that_are_named_exist() -> None:
    given = [
        int(number)
        for number in re.findall(r"\*\*R(\d+)\*\*|^\| R(\d+) \|", PAGE, re.MULTILINE)
        for number in number
        if number
    ]
    assert len(set(given)) == len(given)  # a number that was left out is left out for good
    assert {int(number) for number in re.findall(r"\bR(\d+)\b", PAGE)} == set(given)


def test_every_reason_for_which_something_is_refused_is_named() -> None:
    assert [reason.value for reason in Reason if f"`{reason.value}`" not in PAGE] == []


def test_the_dump_is_that_of_the_file_and_the_program_counts_its_checksum() -> None:
    raw = (EXAMPLES / "answer-first-2.safetensors").read_bytes()
    rows = [(at, raw[at : at + 16]) for at in range(0, len(raw), 16)]
    dump = [
        f"{at:08x}  {row.hex(' '):47}  {''.join(chr(x) if 32 <= x < 127 else '.' for x in row)}\n"
        for at, row in rows
    ]
    assert blocks(FILE, "text") == ["".join(dump)]
    checksum, *_ = blocks(FILE, "python")
    (said,) = re.findall(r"print\(.*\)  # (\w+ \w+)", checksum)
    first, second = said.split()
    assert run(sys.executable, "-c", checksum) == f"{said}\n"
    assert first == second


def test_the_ranking_that_it_shows_is_what_the_program_prints() -> None:
    (shown,) = blocks(FILE, "console")
    command, *lines = shown.removeprefix("$ python3 ").splitlines()
    script, notice, pattern = command.split()
    parts = sorted(ROOT.glob(pattern))
    assert run(sys.executable, script, notice, *parts).splitlines() == lines


@pytest.mark.parametrize("path", sorted((EXAMPLES / "codecs").glob("*.json")), ids=lambda path: path.stem)
def test_the_program_decodes_every_codec_without_libraries(path: Path) -> None:
    parts = [path.with_name(f"{path.stem}-{number}.safetensors") for number in (1, 2)]
    found = {
        int(item): float(score)
        for item, score in map(
            str.split, run(sys.executable, "-S", EXAMPLES / "rank.py", path, *parts).splitlines()
        )
    }
    scores = json.loads(path.read_text())["steps"][-1]["scores"]
    assert found == pytest.approx(dict(enumerate(scores)), abs=1e-6)


def test_the_table_of_examples_names_each_file_and_no_other() -> None:
    table = PAGE.split("## Example files")[1].split("## The PEE file")[0]
    names = chain.from_iterable(
        re.findall(r"`([^`]+)`", row.split("|")[1]) for row in table.splitlines() if "|" in row
    )
    patterns = list(chain.from_iterable(map(each_of, names)))
    files = [str(path.relative_to(EXAMPLES)) for path in EXAMPLES.rglob("*") if path.suffix in SUFFIXES]
    assert [name for name in files if not any(fnmatch.fnmatch(name, each) for each in patterns)] == []
    assert [each for each in patterns if each != "examples/" and not fnmatch.filter(files, each)] == []


def each_of(name: str) -> list[str]:
    """Return the names that ``{1,2}`` stands for."""
    pieces = re.split(r"\{([^}]*)\}", name)
    return ["".join(chosen) for chosen in product(*[piece.split(",") for piece in pieces])]
