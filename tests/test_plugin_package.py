"""docs/plug-ins.md and its example package: what the page has is installed, and works."""

import json
import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "plug-ins.md").read_text(encoding="utf-8")
PACKAGE = ROOT / "docs" / "examples" / "plugin-package"
OTHERS = ("congestion", "handover", "cheapest", "likes", "uptime")
"""The modules of the page that are not in the package."""


def blocks(language: str) -> dict[str, str]:
    """Return the code blocks of the page in one language that begin with the name of a file."""
    found = re.findall(rf"^```{language}\n# (\S+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    return dict(found)


def peelfleet(folder: Path, *words: str, path: Path, plugins: str = "") -> "subprocess.CompletedProcess[str]":
    """Run ``peelfleet`` in *folder* with the packages and modules in *path*."""
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join([str(path), str(ROOT)]),
        "COLUMNS": "80",
        "PEELFLEET_STORE": str(folder / "stores"),
        **({"PEELFLEET_PLUGINS": plugins} if plugins else {}),
    }
    return subprocess.run(
        [sys.executable, "-m", "emulator.cli", *words],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def passes(done: "subprocess.CompletedProcess[str]") -> str:
    assert done.returncode == 0, done.stderr
    return done.stdout


def refusal(done: "subprocess.CompletedProcess[str]") -> str:
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done
    return done.stderr.removeprefix("peelfleet: ").removesuffix("\n")


def install(source: Path, target: Path) -> None:
    """Install a package into *target*, without its dependencies and without the network."""
    for module in ("pip", "setuptools"):
        if find_spec(module) is None:
            pytest.skip(f"needs {module}, which builds the package")
    words = [
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
        "--upgrade",
        "--target",
        str(target),
        str(source),
    ]
    done = subprocess.run(
        [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", *words],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_the_page_has_the_files_of_the_package() -> None:
    shown = blocks("python") | blocks("toml")
    files = {
        str(file.relative_to(PACKAGE)): file.read_text(encoding="utf-8")
        for file in (PACKAGE / "pyproject.toml", *PACKAGE.glob("src/*/*.py"))
        if file.name != "__init__.py"
    }
    assert {name: text for name, text in shown.items() if Path(name).stem not in OTHERS} == files


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A copy of the package, and the folder into which it is installed."""
    folder = tmp_path_factory.mktemp("package")
    shutil.copytree(PACKAGE, folder / "source")
    install(folder / "source", folder / "site")
    return folder / "source", folder / "site"


def only(folder: Path) -> Path:
    (run,) = [path for path in folder.iterdir() if path.is_dir()]
    return run


@pytest.fixture(scope="module")
def finished(package: tuple[Path, Path]) -> Path:
    """A folder with caches, and with a run of the scenario of the package in ``runs``."""
    source, site = package
    passes(peelfleet(source.parent, "run", str(source / "scenario.yaml"), "--out", "runs", path=site))
    return source.parent


@pytest.mark.slow
def test_the_package_is_installed_run_and_replayed(package: tuple[Path, Path], finished: Path) -> None:
    source, site = package
    (command, listed) = re.findall(r"^\$ (peelfleet plugins)\n(.*?)^\$ ", PAGE, re.MULTILINE | re.DOTALL)[0]
    printed = passes(peelfleet(finished, *command.split()[1:], path=site))
    assert [line.rstrip() for line in printed.splitlines()] == listed.splitlines()
    run = only(finished / "runs")
    summary = json.loads((run / "summary.json").read_text())
    used = [(use["kind"], use["name"], use["package"], use["version"]) for use in summary["plugins"]]
    assert used == [
        ("backbones", "svd", "peelfleet-example", "0.1.0"),
        ("codecs", "bf16", "peelfleet-example", "0.1.0"),
        ("memory", "plateaus", "peelfleet-example", "0.1.0"),
        ("metrics", "budget_halvings", "peelfleet-example", "0.1.0"),
    ]
    assert summary["plugins"] == json.loads((run / "plugins.json").read_text())
    assert summary["budget_halvings"] > 0
    passes(peelfleet(finished, "replay", str(run), "--strict", "--out", "replayed", path=site))
    lockstep = ("--set", "clock=lockstep", "--set", "broker=amqtt", "--out", "lockstep")
    passes(peelfleet(finished, "run", str(source / "scenario.yaml"), *lockstep, path=site))
    real = json.loads((only(finished / "lockstep") / "summary.json").read_text())
    assert real["event_log_sha256"] == summary["event_log_sha256"]


@pytest.mark.slow
def test_what_is_kept_names_the_plugins_that_it_needs(finished: Path) -> None:
    run = only(finished / "runs")
    line = f"{run}: was run with the backbone 'svd' of peelfleet-example 0.1.0, which is not installed"
    nothing = finished / "nothing"
    for words in (["replay", str(run)], ["report", str(run)], ["compare", str(run), str(run)]):
        assert refusal(peelfleet(finished, *words, path=nothing)) == line
    stores = (manifest for manifest in (finished / "stores").glob("*/manifest.json"))
    (store,) = {manifest.parent for manifest in stores if '"bf16"' in manifest.read_text()}
    cloud = ("cloud", "--fleet", "f", "--store", str(store), "--broker", "mqtt://127.0.0.1:9")
    assert refusal(peelfleet(finished, *cloud, path=nothing)) == (
        f"{store}: this block store needs the codec 'bf16' of peelfleet-example 0.1.0, which is not installed"
    )


@pytest.mark.slow
def test_a_sweep_is_resumed_and_a_new_version_makes_everything_again(
    package: tuple[Path, Path], finished: Path
) -> None:
    source, site = package
    sweep = (
        "sweep",
        str(source / "scenario.yaml"),
        "--out",
        "swept",
        "--executor",
        "processes",
        "--jobs",
        "2",
    )
    assert "4 new runs, 0 were there" in _both(peelfleet(finished, *sweep, path=site))
    assert "0 new runs, 4 were there" in _both(peelfleet(finished, *sweep, path=site))
    text = (source / "pyproject.toml").read_text()
    (source / "pyproject.toml").write_text(text.replace('version = "0.1.0"', 'version = "0.2.0"'))
    newer = finished / "newer"
    install(source, newer)
    again = peelfleet(finished, "replay", str(only(finished / "runs")), "--out", "later", path=newer)
    assert "backbone 'svd' of peelfleet-example 0.1.0: installed is 0.2.0" in again.stderr
    assert "another scenario, data or version of the code" in refusal(peelfleet(finished, *sweep, path=newer))


def _both(done: "subprocess.CompletedProcess[str]") -> str:
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


SCENARIO = """\
version: 1
name: others
clock: virtual
stop_time: 20 min
data: {type: likes, path: likes.log}
model:
  codec: int8
  selection: cheapest
  layers: 8
  training: {epochs: 4, dim: 8, item_groups: 4, user_groups: 2}
networks: {lte: {uplink: {latency: 80 ms}}}
fleet: [{name: phone, count: 4}]
actions: [{type: handover, at: 5 min, to: lte, gap: 10 s}]
faults: [{type: congestion, at: 2 min, duration: 15 min, queue: 4 s, dropped: 50 %}]
"""
NAMED = (
    "faults.congestion=congestion:Congestion actions.handover=handover:Handover loaders.likes=likes:Likes "
    "policies.cheapest=cheapest:order_cheapest trace_importers.uptime=uptime:IMPORTER"
)


@pytest.mark.slow
def test_the_other_modules_of_the_page_work_without_a_package(tmp_path: Path) -> None:
    code = tmp_path / "code"
    code.mkdir()
    for name in OTHERS:
        (code / f"{name}.py").write_text(blocks("python")[f"{name}.py"], encoding="utf-8")
    likes = (
        f"u{user};i{(user * item) % 40};{user + item}\n" for user in range(1, 61) for item in range(1, 21)
    )
    (tmp_path / "likes.log").write_text("".join(likes), encoding="utf-8")
    (tmp_path / "others.yaml").write_text(SCENARIO, encoding="utf-8")
    (tmp_path / "memory.log").write_text("1700000000 812344\n1700000060 805120\n", encoding="utf-8")
    passes(peelfleet(tmp_path, "run", "others.yaml", "--out", "runs", path=code, plugins=NAMED))
    summary = json.loads((only(tmp_path / "runs") / "summary.json").read_text())
    assert [impact["devices_affected"] for impact in (*summary["faults"], *summary["actions"])] == [4, 4]
    assert [use["name"] for use in summary["plugins"]] == ["likes", "cheapest", "handover", "congestion"]
    imported = ("trace", "import", "uptime", "memory.log", "--out", "memory.csv")
    assert passes(peelfleet(tmp_path, *imported, path=code, plugins=NAMED)) == (
        "memory.csv: 1 series, 2 rows; see memory.meta.json\n"
    )


def test_the_modules_of_the_page_keep_the_rules_of_the_code(tmp_path: Path) -> None:
    ruff = Path(sys.executable).with_name("ruff")
    for name in OTHERS:
        (tmp_path / f"{name}.py").write_text(blocks("python")[f"{name}.py"], encoding="utf-8")
    for command in (["check"], ["format", "--check"]):
        words = [str(ruff), *command, "--config", str(ROOT / "pyproject.toml"), str(tmp_path)]
        done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stdout
