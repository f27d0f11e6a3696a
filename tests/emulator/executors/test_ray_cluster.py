"""A Ray cluster of three nodes on this machine, one of which is killed: results are those of one process."""

import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from emulator.executors.map_tasks import map_tasks
from emulator.executors.open_executor import ExecutorName, open_executor

pytest.importorskip("ray", reason="the extra ray is not installed")
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
