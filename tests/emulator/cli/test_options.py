"""The values of options: parsed where they are declared, and refused in one style."""

from pathlib import Path

import pytest
import typer

from devices.traces.importers.registry import IMPORTERS
from emulator.cli.options import duration, one_of, path, positive_duration, share, size, topic_name
from tests.emulator.cli.refusals import refusal
from tests.emulator.cli.test_main import peelfleet

AGENT = ("agent", "--broker", "mqtt://127.0.0.1:9", "--fleet", "f", "--device", "d", "--user", "1")


def test_parsers_return_values() -> None:
    assert (size("64 MiB"), duration("1 h 30 min"), share(".05")) == (64 * 2**20, 5400 * 10**9, 0.05)
    assert (duration("0 s"), path("runs"), topic_name("a-b.c")) == (0, Path("runs"), "a-b.c")
    assert one_of(["a", "b"])("b") == "b"
    with pytest.raises(typer.BadParameter):
        positive_duration("0 s")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (
            (*AGENT, "--budget", "9x"),
            "--budget(='9x') must be a size in whole bytes such as 64 MiB "
            "(units: B, kB, MB, GB, TB, KiB, MiB, GiB, TiB)",
        ),
        (
            (*AGENT, "--budget-share", "2"),
            "--budget-share(='2') must be a share from 0 to 1 such as 5 % or 0.05",
        ),
        (
            (*AGENT, "--interval", "5"),
            "--interval(='5') must be a duration such as 250 ms or 1 h 30 min "
            "(units: ns, us, ms, s, min, h, d)",
        ),
        ((*AGENT, "--interval", "0 s"), "--interval(='0 s') must be a duration above 0 s"),
        (
            (*AGENT, "--state", ""),
            "--state(='') must be the name of a file or folder: is a variable not set?",
        ),
        (
            ("agent", "--broker", "mqtt://127.0.0.1:9", "--fleet", "a/b", "--device", "d"),
            "--fleet(='a/b') must be 1 to 64 letters, digits, '.', '_' or '-'",
        ),
        ((*AGENT, "--broker", "mqtt://a:b@no..name"), "--broker: 'no..name' is no name of a host"),
        (
            ("run", "quickstart", "--clock", "vertual"),
            "--clock(='vertual') must be one of 'virtual', 'lockstep', 'realtime'",
        ),
        (
            ("run", "quickstart", "--sed", "1"),
            "no such option: --sed (Possible options: --seed, --set, --speed)",
        ),
        (("rum",), "no such command 'rum'. Did you mean 'run'?"),
        (("trace", "imprt"), "no such command 'imprt'. Did you mean 'import'?"),
        (("run",), "missing argument 'scenario'"),
        (
            ("trace", "import", "x", "y"),
            f"kind(='x') must be one of {', '.join(IMPORTERS)}",
        ),
    ],
)  # fmt: skip
def test_a_wrong_argument_is_named_with_its_value_and_the_rule(words: tuple[str, ...], line: str) -> None:
    assert refusal(*words) == line


@pytest.mark.parametrize(("value", "rule"), [("x", "valid integer"), ("0", "1")])
def test_a_wrong_number_is_named_with_its_option(value: str, rule: str) -> None:
    line = refusal("run", "quickstart", "--shards", value)
    assert line.startswith("--shards")
    assert rule in line


def test_a_refusal_is_one_line_on_standard_error(tmp_path: Path) -> None:
    done = peelfleet("run", "quickstart", "--clock", "vertual", folder=tmp_path)
    line = "peelfleet: --clock(='vertual') must be one of 'virtual', 'lockstep', 'realtime'\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", line)
