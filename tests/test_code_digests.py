"""Caches are as old as the code that filled them: what is hashed is what is really imported, and no more."""

import subprocess
import sys
from pathlib import Path

from cloud.blocks.store_cache import TRAINING_CODE, TRAINING_ROOTS
from emulator.sweep.runs import RUN_CODE, RUN_ROOTS
from wire.source_digest import digest_files, imported_modules, is_below

OURS = ("wire", "cloud", "devices", "broker_config", "scenarios", "emulator", "peelfleet")


def imported(roots: tuple[str, ...]) -> set[str]:
    """Return our modules that a fresh process has once it has imported *roots*."""
    program = (
        f"import sys, importlib; [importlib.import_module(each) for each in {roots!r}]; print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return {name for name in done.stdout.split() if name.partition(".")[0] in OURS}


def test_all_that_a_run_imports_counts_but_what_shows_it() -> None:
    """A new package that a run imports must be added to `RUN_CODE`, or here."""
    counted = set(imported_modules(RUN_ROOTS, within=RUN_CODE))
    shown = (
        "emulator.report", "emulator.cli", "emulator.live", "emulator.progress", "emulator.space",
        "emulator.run_directory.run_files", "emulator.metrics.shown_figures",
    )  # fmt: skip
    assert {name for name in imported(RUN_ROOTS) if not is_below(name, shown)} - counted <= {
        "emulator", "scenarios",
    }  # fmt: skip
    assert not [name for name in counted if is_below(name, ("emulator.report",))]


def test_all_that_training_imports_counts_but_errors_files_and_the_search_for_plugins() -> None:
    """A new module that training imports must be added to `TRAINING_CODE`, or here."""
    counted = set(imported_modules(TRAINING_ROOTS, within=TRAINING_CODE))
    assert imported(TRAINING_ROOTS) - counted == {
        "cloud", "wire", "wire.arrow_input", "wire.errors", "wire.input_files", "wire.output_files",
        "wire.plugins", "wire.plugins.installed", "wire.plugins.plugin", "wire.plugins.registry", "wire.text",
    }  # fmt: skip


def test_what_trains_is_no_more_than_what_trains() -> None:
    """Help texts of the service's metrics, readers of data and access rules train nothing anew."""
    counted = imported_modules(TRAINING_ROOTS, within=TRAINING_CODE)
    assert {
        "cloud.training.backbones.ials", "cloud.training.validation_guard", "cloud.blocks.selection",
        "wire.codecs.planes",
    } <= set(counted)  # fmt: skip
    assert not [
        name for name in counted if is_below(name, ("cloud.service", "cloud.data.readers", "wire.units"))
    ]


def test_what_runs_is_what_any_clock_needs() -> None:
    counted = set(imported_modules(RUN_ROOTS, within=RUN_CODE))
    assert {
        "emulator.realtime.real_cloud", "emulator.replay.recorded_run", "broker_config.mosquitto",
        "devices.mqtt.sessions", "cloud.service.mqtt_service", "scenarios.language.decode",
        "emulator.metrics.formulas.exchanges",
    } <= counted  # fmt: skip
    assert not counted & {"emulator.compare.run_sets", "emulator.cli.sweep", "emulator.report.page"}


def test_a_digest_is_of_names_and_contents(tmp_path: Path) -> None:
    one, two = tmp_path / "one.py", tmp_path / "two.py"
    one.write_text("A = 1\n")
    two.write_text("A = 1\n")
    before = digest_files({"one": one})
    assert before == digest_files({"one": two})
    assert before != digest_files({"two": two})
    two.write_text("A = 2\n")
    assert before != digest_files({"one": two})
