"""A client in a shell script, written from the protocol's page: docs/examples/client.sh."""

import asyncio
import shutil
import subprocess
from pathlib import Path

import pytest
import safetensors

from tests.served import FLEET, PASSWORD, Listener, served
from wire.messages import BudgetReport, Status, decode
from wire.topics import Role

pytestmark = [
    pytest.mark.broker,
    pytest.mark.skipif(
        not (shutil.which("mosquitto_sub") and shutil.which("mosquitto")),
        reason="mosquitto and its clients are not installed",
    ),
]
SCRIPT = Path(__file__).parent.parent / "docs" / "examples" / "client.sh"
BUDGET = 600


def run(command: list[object]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=60, check=False)


def test_the_script_gets_a_pee_that_safetensors_opens_and_the_fleet_sees_a_device(tmp_path: Path) -> None:
    with served(tmp_path / "stores", tmp_path, ["d1"]) as world:

        async def story() -> tuple[str, dict[str, list[bytes]]]:
            await world.announced()
            async with Listener(world.connection(Role.CLOUD), f"peel/1/{FLEET}/d1/#") as cloud:
                endpoint = world.broker.endpoint
                words = [endpoint.host, endpoint.port, FLEET, "d1", PASSWORD, 3, BUDGET, tmp_path / "pee"]
                done = await asyncio.to_thread(run, [SCRIPT, *map(str, words)])
                assert done.returncode == 0, done.stderr
                await asyncio.sleep(0.5)
                return done.stdout, cloud.heard

        said, heard = asyncio.run(story())
    parts = sorted((tmp_path / "pee").glob("part-*.safetensors"))
    assert said == f"{len(parts)} parts in {tmp_path / 'pee'}\n"
    store = world.store
    group = store.groups[store.user_groups[3]]
    blocks = group.layers.blocks[group.layers.best(BUDGET)]
    assert blocks > 0
    ids: list[int] = []
    for number, path in enumerate(parts, 1):
        with safetensors.safe_open(path, "numpy") as part:
            fields = part.metadata()
            assert (fields["model"], fields["part"], fields["target"]) == (
                store.version, str(number), str(blocks)
            )  # fmt: skip
            ids += part.get_tensor("ids").tolist() if "ids" in part.keys() else []  # noqa: SIM118
            if number == 1:
                assert part.get_tensor("user_vector").shape == (store.geometry.dim,)
    assert ids == group.blocks.block_ids()[:blocks]
    status = [decode(each, Status) for each in heard[f"peel/1/{FLEET}/d1/status"]]
    assert [(each.online, each.reason) for each in status[:2]] == [(True, "start"), (False, "done")]
    (report,) = [decode(each, BudgetReport) for each in heard[f"peel/1/{FLEET}/d1/budget"]]
    assert report.seq // 1000 > 1_700_000_000  # milliseconds, as the page says
    assert f"peel/1/{FLEET}/d1/quality" not in heard  # it ranks nothing, so it has nothing to say
