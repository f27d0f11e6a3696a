"""``make docs-captures``: what every verb prints at 80 and 120 columns and without a terminal.

The files in ``captures/`` are for reading; a test compares them with what is printed now. What differs from
one run or machine to the next is replaced by named rules, in the files, and numbers in the comparison only.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import NamedTuple

import pytest

import scenarios
from broker_config.installation import Installation, install
from broker_config.launch import launch_broker
from cloud.blocks.store import save_store
from cloud.data.load import load as load_data
from devices.traces.draft import open_draft
from devices.traces.writer import Row, Sidecar
from emulator.processes.cloud_process import url_with_password
from emulator.simulation.model_cache import store_origin
from scenarios.language.load import dump, parse
from tests.emulator.cli.pty_screen import in_a_process, on_terminal, without_terminal
from tests.emulator.scenarios import TINY
from tests.worlds import a_store
from wire.topics import Role

FILES = Path(__file__).with_name("captures")
WIDTHS = {"80": 80, "120": 120, "file": None}
"""The columns of the terminal, by the ending of the name of a capture; None: there is no terminal."""


class Rule(NamedTuple):
    """A rule by which texts are made equal."""

    name: str
    pattern: str
    replacement: str


SMALL = (
    "name=small", "model={store: model}", "faults=[{type: loss, at: 8 min, duration: 2 min, share: 100 %}]",
    "thresholds={over_budget_device_seconds: [rate<0.01%], update_latency_seconds: [p(95)<40s]}",
)  # fmt: skip
"""Changes of the tests' scenario: a model that is not trained, a fault, and rules."""
WRONG = "name: wrong\nversion: 1\nstop_tme: 5 min\n"
TRACE = """device_id,t_s,mem_available_bytes
phone-1,0,2000000000
phone-1,60,1500000000
phone-2,0,900000000
"""
OVER = ("--over", "updates.hysteresis=0 %,20 %", "--seeds", "1-2", "--jobs", "1")
COMMANDS: Mapping[str, Sequence[str]] = {
    "help": ("--help",),
    "run": ("run", "small.yaml", "--out", "out"),
    "run-broken": ("run", "small.yaml", "--out", "out", "-q", "--set", "thresholds={ndcg_at_10: [mean>0.9]}"),
    "run-wrong-option": ("run", "quickstart", "--sed", "1"),
    "replay": ("replay", "runs/one", "--out", "out", "--diff"),
    "sweep": ("sweep", "small.yaml", *OVER),
    "sweep-quiet": ("sweep", "small.yaml", *OVER, "--quiet"),
    "compare": ("compare", "runs/one", "runs/two"),
    "compare-quiet": ("compare", "runs/one", "runs/two", "--quiet"),
    "evaluate": (
        "evaluate", "tiny.yaml", "--budgets", "10%,25%,50%,1KiB,2KiB", "--policies", "peel,popularity",
        "--seeds", "2",
    ),
    "diff": ("diff", "runs/one", "runs/two", "--samples", "1"),
    "diff-json": ("diff", "runs/one", "runs/one", "--json"),
    "train": ("train", "small.yaml"),
    "train-quiet": ("train", "small.yaml", "--quiet"),
    "pee": ("pee", "small.yaml", "--user", "user-7", "--budget", "8192"),
    "pee-json": ("pee", "small.yaml", "--user", "user-7", "--budget", "8 KiB", "--json"),
    "recommend": ("recommend", "pee.safetensors", "-k", "3"),
    "validate": ("validate", "quickstart"),
    "validate-wrong": ("validate", "wrong.yaml"),
    "validate-json": ("validate", "wrong.yaml", "--json"),
    "scenarios": ("scenarios",),
    "plugins": ("plugins",),
    "init": ("init", "mine.yaml", "--force"),
    "fold-in": ("fold-in", "store", "--interactions", "met.csv", "--out", "folded"),
    "trace-inspect": ("trace", "inspect", "memory.csv"),
    "trace-import": (
        "trace", "import", "columns", "memory.csv", "--time", "t_s", "--time-unit", "s", "--available",
        "mem_available_bytes", "--unit", "B", "--device", "device_id", "--out", "imported.csv",
    ),
    "trace-inspect-json": ("trace", "inspect", "memory.csv", "--json"),
    "trace-record": ("trace", "record", "--out", "sampled.csv", "--for", "200 ms", "--proc", "proc"),
    "trace-recover": ("trace", "recover", "lost.csv"),
    "report": ("report", "runs/one"),
    "report-runs": ("report", "runs/one", "runs/two", "--out", "both.html", "--quiet"),
    "catalogue": ("catalogue", "small.yaml", "--out", "items.jsonl", "--users", "users.jsonl"),
    "broker-add": ("broker", "add", "home", "lamp"),
    "broker-list": ("broker", "list", "home"),
    "broker-list-json": ("broker", "list", "home", "--json"),
    "broker-revoke": ("broker", "revoke", "home", "kettle"),
    "broker-rotate": ("broker", "rotate", "home", "kettle"),
    "broker-start": ("broker", "start", "amqtt"),
    "ui": ("ui", "runs", "--no-browser"),
    "cloud": ("cloud", "--store", "store", "--fleet", "home"),
    "agent": (
        "agent", "--fleet", "home", "--device", "kettle", "--user", "3", "--budget", "2 KiB", "--once",
    ),
    "conformance": (
        "conformance", "--device", "kettle", "--start", "1 s", "--prompt", "1 s", "--calm", "1 s", "-q",
    ),
    "broker-clean": ("broker", "clean", "--fleet", "away", "--yes"),
    "broker-init": ("broker", "init", "broker", "--fleet", "home", "--device", "kettle", "--force"),
}  # fmt: skip
"""The commands, by the name of their captures."""
SERVICES: Mapping[str, str | None] = {
    "broker-start": r"observer\t.*\n", "ui": "Ctrl-C", "cloud": "serving model .*\n", "agent": None
}  # fmt: skip
"""Commands that have a process of their own; Ctrl-C ends it when its output has this. None: it ends."""
LOGINS: Mapping[str, Role] = {
    "cloud": Role.CLOUD, "agent": Role.FLEET, "conformance": Role.CLOUD, "broker-clean": Role.CLOUD,
}  # fmt: skip
"""Commands that need a broker, with the role whose login they have."""
KEPT: Mapping[str, str] = {
    **dict.fromkeys(
        ("broker-add", "broker-list", "broker-list-json", "broker-revoke", "broker-rotate"), "home"
    ),
    "trace-recover": "lost.csv.partial",
}
"""Commands that find something as it was at first: some of them change it."""
FIRST = ("pee-json",)
"""Commands whose files others read."""
PREPARED = ("sweep", "evaluate")
"""Commands that are called once before the captures, which then show what they find done."""
SLOW = frozenset(
    ("run-broken", "replay", "sweep", "sweep-quiet", "evaluate", "report-runs", *SERVICES, *LOGINS)
)
"""Commands that take long."""
WIDE_IS_SLOW = frozenset(
    ("run", "compare", "compare-quiet", "diff", "diff-json", "pee", "pee-json", "report", "catalogue")
)
"""Commands that take long enough to be compared in the fast tests at one width only."""
STORED: Sequence[Rule] = (
    Rule("time of a log line", r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}", "TIME"),
    Rule("status of a cloud that comes and goes", r"TIME INFO peelfleet.agent: cloud main .*\n", ""),
    Rule("subscription that meets the end of a cloud", r"TIME ERROR mqtt: Unexpected [^~]*?(?=TIME)", ""),
    Rule("port", r"(?<=127\.0\.0\.1:)\d+", "PORT"),
    Rule("password", r"(?<=:)[\w-]{20,}(?=@127)", "PASSWORD"),
    Rule("folder of peelfleet", re.escape(str(Path(scenarios.__file__).parents[1])), "PEELFLEET"),
    Rule("time of a run", r"-\d{8}T\d{6}(-\d+)?", "-TIME"),
    Rule("hash", r"(?<![.\d])\b[0-9a-f]{16}([0-9a-f]{48})?\b", "HASH"),
    Rule("version of a plug-in", r"source [0-9a-f]{12}", "source HASH"),
    Rule("wall time", r"(?<=that it took)( +)[\d,.]+ (ms|s|min)|(?<=of real time)( +)[\d,.]+", r"\1\3#"),
    Rule("wall time of a stage", r"\d:\d\d:\d\d|(?<= % )[ \d]{7} s(?=  )", "#"),
    Rule("wall time in JSON", r'(?<="wall_seconds":)[\d.]+', "#"),
    Rule("spaces at the end of a line", r" +(?=\n)", ""),
)
"""What differs from one run or machine to the next, and what the files have in its place."""
COMPARED: Sequence[Rule] = (
    Rule("rules that no test checks", r"(?<=not checked: )[R\d, \n]+", "RULES\n"),
    Rule("number", r"[-+]?\d[\d,.]*(e[-+]\d+)?", "#"),
    Rule("unit of a small number", r"# (ms|us|s|min|h|B|KiB|MiB)\b", "#"),
    Rule("width of a column", r"[ ─━╸╺]+", " "),
    Rule("space at an end of a line", r" (?=\n)|(?<=\n) ", ""),
)
"""What differs when a model is trained again: it is left out of the comparison."""


def stored_text(text: str) -> str:
    """Return *text* as the files have it."""
    return _replaced(text, STORED)


def compared_text(text: str) -> str:
    """Return *text* of a file as it is compared."""
    return _replaced(text, COMPARED)


def _replaced(text: str, rules: Sequence[Rule]) -> str:
    for rule in rules:
        text = re.sub(rule.pattern, rule.replacement, text)
    return text


@contextmanager
def prepared_folder(*, slow: bool) -> Iterator[Path]:
    """Yield a folder with what the commands read, which is the working folder meanwhile.

    Args:
        slow: whether it is for the slow commands, too.
    """
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        folder = Path(name)
        os.chdir(folder)
        try:
            patch.setenv("PEELFLEET_PLUGINS", "memory.steps=tests.plugin_objects:Steps")
            patch.setenv("PEELFLEET_STORE", "stores")
            _write_inputs(folder)
            for run, options in (("one", ()), ("two", ("--set", "updates.hysteresis=20 %"))):
                without_terminal(("run", "small.yaml", *options, "--out", run), folder)
                next((folder / run).iterdir()).rename(folder / "runs" / run)
            for command in (*FIRST, *(PREPARED if slow else ())):
                without_terminal(COMMANDS[command], folder)
            with _broker(folder) if slow else nullcontext():
                yield folder
        finally:
            os.chdir(before)


def _write_inputs(folder: Path) -> None:
    scenario = parse(TINY, overrides=SMALL)
    origin = store_origin(load_data(scenario.data), scenario.model)
    save_store(a_store(users=120, items=80), folder / "model", origin)
    (folder / "small.yaml").write_text(dump(scenario))
    (folder / "tiny.yaml").write_text(TINY)
    (folder / "wrong.yaml").write_text(WRONG)
    (folder / "memory.csv").write_text(TRACE)
    (folder / "met.csv").write_text("anna,3\nben,7\nanna,5\n")
    (folder / "runs").mkdir()
    save_store(a_store(items=60), folder / "store")
    (folder / "proc").mkdir()
    (folder / "proc" / "meminfo").write_text("MemTotal: 4096 kB\nMemAvailable: 1024 kB\n")
    kept = folder / "kept"
    kept.mkdir()
    with open_draft(kept / "lost.csv") as draft:
        draft.begin(Sidecar(source="a test", licence="none", sampling="once", notes=""))
        draft.add(Row("recording", 0.0, 1_000_000))
    install(kept / "home", Installation(fleet="home", hosts=["localhost"], devices=["kettle"]))
    shutil.copytree(kept / "home", folder / "home")


def capture(name: str, width: int | None, folder: Path) -> str:
    """Return the output of a command, as the files have it.

    Args:
        name: of the command.
        width: of the terminal; None: there is none.
        folder: the prepared folder.
    """
    arguments = COMMANDS[name]
    if name in KEPT:
        _put_back(KEPT[name], folder)
    if name == "fold-in":  # a store is never changed
        arguments = [*arguments[:-1], f"folded-{width or 'file'}"]
    with pytest.MonkeyPatch.context() as patch:
        if name in LOGINS:
            patch.setenv("PEELFLEET_BROKER", _url(LOGINS[name], folder))
        with _cloud(folder) if name == "agent" else nullcontext():
            text = _output(name, arguments, width, folder)
    return stored_text(
        f"$ peelfleet {' '.join(COMMANDS[name])}\n{text}".replace(f"folded-{width or 'file'}", "folded")
    )


def _output(name: str, arguments: Sequence[str], width: int | None, folder: Path) -> str:
    if name in SERVICES:
        return in_a_process(arguments, width, folder, SERVICES[name])
    return without_terminal(arguments, folder) if width is None else on_terminal(arguments, width)


@contextmanager
def _broker(folder: Path) -> Iterator[None]:
    """Run a broker while the block runs."""
    with launch_broker("amqtt") as running:
        for role in running.endpoint.credentials:
            (folder / "kept" / role.value).write_text(url_with_password(running.endpoint, role))
        yield


def _url(role: Role, folder: Path) -> str:
    """Return the URL of the broker, with the login of a role."""
    return (folder / "kept" / role.value).read_text()


def _put_back(name: str, folder: Path) -> None:
    """Let a folder or file be as it was at first."""
    kept, used = folder / "kept" / name, folder / name
    if kept.is_dir():
        shutil.rmtree(used)
        shutil.copytree(kept, used)
    else:
        shutil.copy(kept, used)


@contextmanager
def _cloud(folder: Path) -> Iterator[None]:
    """Run a cloud for the agent while the block runs."""
    environment = {**os.environ, "PEELFLEET_BROKER": _url(Role.CLOUD, folder)}
    command = [sys.executable, "-m", "emulator.cli", *COMMANDS["cloud"]]
    with subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        next(line for line in process.stderr if "serving model" in line)
        yield
        process.terminate()
        process.communicate()


def main() -> int:
    """Write the captures again."""
    FILES.mkdir(exist_ok=True)
    for file in FILES.iterdir():
        file.unlink()
    with prepared_folder(slow=True) as folder:
        for name in COMMANDS:
            for ending, width in WIDTHS.items():
                (FILES / f"{name}.{ending}.txt").write_text(capture(name, width, folder))
    return 0


if __name__ == "__main__":
    sys.exit(main())
