"""Caches are as old as the code that filled them: what is hashed is what is really imported, and no more."""

import subprocess
import sys
from pathlib import Path

import pytest

from cloud.blocks.store import SAYING, TRAINING
from emulator.sweep.runs import RUNNING, SHOWING
from wire.source_digest import digest_files, imported_modules

OURS = ("wire", "cloud", "devices", "broker_config", "scenarios", "emulator")


def imported(roots: tuple[str, ...]) -> set[str]:
    """Return our modules that a fresh process has once it has imported *roots*."""
    program = (
        f"import sys, importlib; [importlib.import_module(each) for each in {roots!r}]; print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return {name for name in done.stdout.split() if name.partition(".")[0] in OURS}


def below(name: str, packages: tuple[str, ...]) -> bool:
    return any(name == each or name.startswith(f"{each}.") for each in packages)


@pytest.mark.parametrize(("roots", "without"), [(TRAINING, SAYING), (RUNNING, SHOWING)])
def test_all_that_is_imported_counts_but_what_is_named(
    roots: tuple[str, ...], without: tuple[str, ...]
) -> None:
    counted = set(imported_modules(roots, without))
    assert {name for name in imported(roots) if not below(name, without)} <= counted
    assert not [name for name in counted if below(name, without)]


def test_what_trains_is_no_more_than_what_trains() -> None:
    """Help texts of the service's metrics, readers of data and access rules train nothing anew."""
    counted = imported_modules(TRAINING, SAYING)
    assert {
        "cloud.training.backbones.ials", "cloud.training.validation_guard", "cloud.blocks.selection",
        "wire.planes",
    } <= set(counted)  # fmt: skip
    assert not set(counted) & {
        "cloud.service.prometheus",
        "cloud.service.mqtt_service",
        "cloud.service.responder",
        "cloud.data.readers",
        "wire.units",
    }


def test_what_runs_is_what_any_clock_needs() -> None:
    counted = set(imported_modules(RUNNING, SHOWING))
    assert {
        "emulator.realtime.real_cloud", "emulator.replay.recorded_run", "broker_config.mosquitto",
        "devices.mqtt.sessions", "cloud.service.mqtt_service", "scenarios.language.decode",
    } <= counted  # fmt: skip
    assert not counted & {"cloud.service.prometheus", "emulator.compare.run_sets", "emulator.cli.sweep"}
    assert {name for name in counted if below(name, ("emulator.cli",))} == {
        "emulator.cli", "emulator.cli.cloud", "emulator.cli.devices",
    }  # fmt: skip


def test_a_digest_is_of_names_and_contents(tmp_path: Path) -> None:
    one, two = tmp_path / "one.py", tmp_path / "two.py"
    one.write_text("A = 1\n")
    two.write_text("A = 1\n")
    before = digest_files({"one": one})
    assert before == digest_files({"one": two})
    assert before != digest_files({"two": two})
    two.write_text("A = 2\n")
    assert before != digest_files({"one": two})
