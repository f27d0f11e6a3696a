"""The choice of the engine of a run, the same log from each, and the audit."""

import io
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from devices.kernel import code_cache
from devices.kernel.engine import Kernel, Rows
from devices.simulated.roster import DeviceSpec
from emulator.progress.run_progress import RunProgress
from emulator.progress.views import ProgressLines
from emulator.runner.runner import RunOptions, RunResult, run
from emulator.simulation.engines import check_engine, must_compile, unsupported, uses_kernel
from emulator.simulation.kernel_run import simulate_audited
from scenarios.language.load import parse
from scenarios.language.scenario import Scenario
from tests.devices.kernel.engines import BothEngines, job_of
from tests.emulator.scenarios import TINY, RecordingObserver
from wire.errors import InputError, RunError


def tiny(*changes: str) -> Scenario:
    return parse(TINY, "tiny", changes)


def run_tiny(folder: Path, *changes: str) -> RunResult:
    options = RunOptions(folder / "runs", store=folder / "stores", report=False)
    return run(tiny(*changes), options, RecordingObserver())


def test_both_engines_write_one_log(tmp_path: Path) -> None:
    by_kernel, by_simpy = (run_tiny(tmp_path, f"engine={name}") for name in ("kernel", "simpy"))

    assert by_kernel.summary["event_log_sha256"] == by_simpy.summary["event_log_sha256"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("clock=lockstep", "the clock is lockstep"),
        ("cloud.workers=3", "all devices share a cloud with few workers"),
        ("updates.delivery=shared", "updates.delivery is shared: devices subscribe to layers"),
    ],
)
def test_what_the_kernel_cannot_do_is_refused_with_the_reason_or_runs_in_simpy(
    change: str, reason: str
) -> None:
    with pytest.raises(InputError, match=re.escape(f"engine(='kernel') must be auto or simpy: {reason}")):
        check_engine(tiny(change, "engine=kernel"))
    assert check_engine(tiny(change)) == []
    assert not uses_kernel(tiny(change, "fleet[0].count=1000000"))


def test_a_recorded_run_is_played_again_by_simpy() -> None:
    assert unsupported(tiny(), is_replay=True) == "a recorded run is played again"


def test_auto_is_the_kernel_for_large_fleets() -> None:
    assert not uses_kernel(tiny())
    assert uses_kernel(tiny("fleet[0].count=100000"))
    assert not uses_kernel(tiny("fleet[0].count=100000", "engine=simpy"))


def test_a_run_says_that_it_compiles_when_the_kernel_is_not_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    for is_there, compiles in ((False, True), (True, False)):
        monkeypatch.setattr("emulator.simulation.engines.is_compiled", lambda is_there=is_there: is_there)
        assert must_compile(tiny("engine=kernel")) is compiles
        assert not must_compile(tiny("engine=simpy"))

    output = io.StringIO()
    progress = RunProgress(ProgressLines(Console(file=output, width=200)))
    progress.on_compiling()
    assert output.getvalue() == (
        "compile        0 %       0 s  the kernel, once for this version: about 20 s of one core\n"
    )


def test_without_numba_large_fleets_are_told_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emulator.simulation.engines.is_installed", lambda: False)

    assert check_engine(tiny()) == []
    assert check_engine(tiny("fleet[0].count=100000")) == [
        "100,010 devices run many times faster with numba: install peelfleet[fast]"
    ]
    with pytest.raises(InputError, match=re.escape("engine(='kernel') needs numba: install peelfleet[fast]")):
        check_engine(tiny("engine=kernel"))
    assert not uses_kernel(tiny("fleet[0].count=100000"))


def test_code_that_cannot_be_kept_is_compiled_for_one_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("no folder can be here")
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "file"))

    assert code_cache.code_folder.__wrapped__() is None


class WrongKernel(Kernel):
    """A kernel with one wrong number."""

    def simulate(self, specs: Sequence[DeviceSpec]) -> tuple[Rows, list[DeviceSpec]]:
        rows, left = super().simulate(specs)
        rows["update"]["held"][5] += 1
        return rows, left


class HesitantKernel(Kernel):
    """A kernel that leaves every third device to SimPy."""

    def simulate(self, specs: Sequence[DeviceSpec]) -> tuple[Rows, list[DeviceSpec]]:
        rows, _ = super().simulate(specs)
        left = [spec for spec in specs if spec.number % 3 == 0]
        numbers = [spec.number for spec in left]
        return {name: table[~np.isin(table["device"], numbers)] for name, table in rows.items()}, left


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> BothEngines:
    folder = tmp_path_factory.mktemp("audit")
    return BothEngines(job_of(tiny(), folder / "stores", folder))


def test_a_row_that_differs_ends_the_run_and_is_shown(both: BothEngines) -> None:
    kernel = both.kernel()
    kernel.__class__ = WrongKernel

    with pytest.raises(RunError) as raised:
        simulate_audited(kernel, both.job.devices, both.simpy_rows_of)

    expected = (
        r"the kernel and SimPy disagree: device phone-00000, table update, row \d+, held: \d+ and \d+; "
    )
    assert re.match(expected, str(raised.value))


def test_devices_that_the_kernel_leaves_live_in_simpy(both: BothEngines) -> None:
    kernel = both.kernel()
    kernel.__class__ = HesitantKernel

    rows = simulate_audited(kernel, both.job.devices, both.simpy_rows_of)

    exact = both.simpy_rows_of(both.job.devices)
    for table, columns in rows.items():
        for name in columns.dtype.names or ():
            assert name == "wall_s" or np.array_equal(columns[name], exact[table][name])
