"""A Ray cluster of three nodes on this machine, one of which is killed: results are those of one process."""

import threading
import time
from collections.abc import Iterator
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from emulator.executors.map_tasks import map_tasks
from emulator.executors.open_executor import ExecutorName, open_executor
from emulator.run_directory.layout import REPORT, SUMMARY, read_summary
from emulator.run_directory.manifest import MANIFEST
from tests.emulator.cli.test_main import peelfleet
from tests.emulator.runner.test_ranges import WALL
from tests.emulator.scenarios import TINY

if find_spec("ray") is None:
    pytest.skip("the extra ray is not installed", allow_module_level=True)
import_module("emulator.executors.ray_executor")  # before Ray, which reads our settings when it is imported
pytestmark = pytest.mark.slow


@pytest.fixture
def cluster() -> Iterator[Any]:  # Any: Ray's own class, which mypy does not read
    """Start a head without cores, where this process is, and two nodes with a core."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    cluster.victims = [cluster.add_node(num_cpus=1) for _ in range(2)]
    cluster.wait_for_nodes()
    yield cluster
    cluster.shutdown()


def square_on_all_but(number: int, node: str, folder: str) -> int:
    """Return the square of *number*; on *node*, say that the call has begun, and never end."""
    import ray

    if ray.get_runtime_context().get_node_id() == node:
        Path(folder, str(number)).touch()
        time.sleep(600)
    return number * number


def test_the_calls_of_a_killed_node_run_again_on_another(
    cluster: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    victim = cluster.victims[0]

    def kill_when_busy() -> None:
        while not list(tmp_path.iterdir()):
            time.sleep(0.05)
        cluster.remove_node(victim, allow_graceful=False)

    capfd.readouterr()
    with open_executor(ExecutorName("ray", cluster.address)) as executor:
        assert executor.workers == 2
        executor.check_folder(tmp_path)
        killer = threading.Thread(target=kill_when_busy)
        killer.start()
        square = partial(square_on_all_but, node=victim.node_id, folder=str(tmp_path))
        results = list(map_tasks(executor, square, range(16)))
        killer.join()
    assert results == [number**2 for number in range(16)]
    assert list(tmp_path.iterdir())
    assert capfd.readouterr() == ("", "")


def test_a_sweep_over_a_cluster_that_loses_a_node_has_the_table_of_one_process(
    cluster: Any, tmp_path: Path, store_root: Path
) -> None:
    """60 runs: the command has the address of the cluster, and says nothing of the node."""
    file = tmp_path / "tiny.yaml"
    file.write_text(TINY.replace("count: 20", "count: 2").replace("count: 10", "count: 1"))
    common: list[str | Path] = [
        "--seeds",
        "1-60",
        "--set",
        "stop_time=10 min",
        "--store",
        store_root,
        "--out",
    ]
    local = peelfleet("sweep", file, *common, "local", folder=tmp_path)
    assert local.returncode == 0, local.stderr
    found = list[Path]()

    def kill_in_the_middle() -> None:
        while len(list((tmp_path / "far").glob("*/seed-*"))) < 10:
            time.sleep(0.05)
        cluster.remove_node(cluster.victims[0], allow_graceful=False)
        found.extend((tmp_path / "far").glob("*/seed-*"))

    killer = threading.Thread(target=kill_in_the_middle, daemon=True)
    killer.start()
    far = peelfleet("sweep", file, "--executor", f"ray:{cluster.address}", *common, "far", folder=tmp_path)
    killer.join(1)
    *progress, last = far.stderr.splitlines()
    assert (far.returncode, last, 10 <= len(found) < 60) == (0, "60 new runs, 0 were there", True), far.stderr
    assert [line for line in progress if not line.startswith("runs ")] == []
    assert (tmp_path / "far/table.csv").read_bytes() == (tmp_path / "local/table.csv").read_bytes()
    assert (tmp_path / "far/table.parquet").read_bytes() == (tmp_path / "local/table.parquet").read_bytes()


def test_a_run_over_a_cluster_that_loses_a_node_has_the_files_of_one_process(
    cluster: Any, tmp_path: Path, store_root: Path
) -> None:
    """Twelve ranges: the first parts are there when the node goes, and others are being written."""
    file = tmp_path / "tiny.yaml"
    file.write_text(TINY.replace("count: 20", "count: 24000").replace("20 min", "2 min"))
    common = (file, "--store", store_root, "--out")
    local = peelfleet("run", *common, "local", "--executor", "in-process", folder=tmp_path)
    assert local.returncode == 0, local.stderr
    found = list[Path]()

    def kill_in_the_middle() -> None:
        pattern = "far/*.partial/.ranges/quality/*.parquet"
        while len(list(tmp_path.glob(pattern))) < 2:
            time.sleep(0.02)
        cluster.remove_node(cluster.victims[0], allow_graceful=False)
        found.extend(tmp_path.glob(pattern))

    killer = threading.Thread(target=kill_in_the_middle, daemon=True)
    killer.start()
    far = peelfleet("run", *common, "far", "--executor", f"ray:{cluster.address}", folder=tmp_path)
    killer.join(1)
    assert (far.returncode, 2 <= len(found) < 12) == (0, True), (far.stderr, len(found))
    assert "ray" not in far.stderr.lower()
    (one,), (other,) = (list((tmp_path / name).iterdir()) for name in ("local", "far"))
    assert files(other) == files(one)
    assert summary(other) == summary(one)


def files(run: Path) -> dict[str, bytes]:
    """Return the files of a run by path, without those that depend on wall times."""
    return {
        str(path.relative_to(run)): path.read_bytes()
        for path in sorted(run.rglob("*"))
        if path.is_file() and path.name not in (SUMMARY, REPORT, MANIFEST)
    }


def summary(run: Path) -> dict[str, object]:
    """Return the summary of a run without its wall times."""
    return {name: value for name, value in read_summary(run).items() if name not in WALL}
