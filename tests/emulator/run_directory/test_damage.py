"""A run directory that is damaged in any way is read as it was, or refused in one line, by every reader."""

import functools
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from emulator.cli.diff import compare_logs
from emulator.cli.report import rewrite_report
from emulator.compare.run_sets import read_run_set
from emulator.metrics.per_device import MeasuredRun
from emulator.replay.replay import read_replay
from emulator.run_directory.layout import read_summary
from emulator.sweep.runs import SweepRun, list_missing
from emulator.sweep.table import flatten
from scenarios.language.load import parse
from scenarios.language.sweep_expansion import Combination
from tests.emulator.event_logs import part
from tests.emulator.scenarios import TINY, Runner
from wire.errors import InputError

WEATHER = """
faults:
  - {type: loss, at: 5 min, duration: 1 min, share: 50 %}
actions:
  - {type: disconnect, at: 8 min, duration: 30 s}
stages:
  - {name: calm, duration: 4 min}
  - {name: rush, duration: 6 min}
thresholds:
  ndcg_at_10: [mean>0.01]
"""
SMALL = (
    TINY.replace("stop_time: 20 min\n", "").replace("count: 20", "count: 4").replace("count: 10", "count: 2")
)
Damage = Callable[[Path], object]


def compared(folder: Path) -> object:
    run = MeasuredRun(folder)
    return (
        [each.tolist() for each in run.sums],
        run.users.tolist(),
        read_run_set(str(folder)).models,
    )


def differences(folder: Path) -> object:
    found = compare_logs(folder, folder, 3)
    return found.equal, found.tables


def replayed(folder: Path) -> object:
    scenario, playback, warnings = read_replay(folder, ())
    return scenario, playback.users.tolist(), playback.log_sha256, playback.model_version, warnings


def reported(folder: Path) -> object:
    rewrite_report(folder, None, None)
    return hashlib.sha256((folder / "report.html").read_bytes()).hexdigest()


READERS: dict[str, Callable[[Path], object]] = {
    "report": reported,
    "compare": compared,
    "diff": differences,
    "replay": replayed,
    "sweep": lambda folder: dict(flatten(read_summary(folder))),
}


@pytest.fixture(scope="module")
def whole(store_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Runner(store_root, tmp_path_factory.mktemp("whole")).run(SMALL + WEATHER).folder


def refusal(act: Callable[[], object]) -> str:
    with pytest.raises(InputError) as caught:
        act()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def copied(whole: Path, folder: Path, *, checked: bool) -> Path:
    """Return a copy of the run; without checksums, it is one of an older version."""
    shutil.copytree(whole, folder)
    if not checked:
        (folder / "manifest.json").unlink()
    return folder


def test_a_summary_that_was_changed_is_named_by_every_reader(whole: Path, tmp_path: Path) -> None:
    folder = copied(whole, tmp_path / "run", checked=True)
    path = folder / "summary.json"
    path.write_text(path.read_text().replace('"devices": 6', '"devices": 7'))
    for reader in READERS.values():
        words = refusal(functools.partial(reader, folder))
        assert words.startswith(f"{path}: the run directory is damaged: SHA-256 ")


SUMMARIES = [
    ({"seed": "5"}, "seed: expected int, got str"),
    ({"simulated_seconds": None}, "simulated_seconds: expected float, got null"),
    ({"simulated_seconds": 1e300}, "simulated_seconds: expected float < 9223372036.854776"),
    ({"ndcg_at_10": "good"}, "ndcg_at_10: expected float | null, got str"),
    ({"faults": {"loss": 1}}, "faults: expected array, got object"),
    ({"faults": [1]}, "faults[0]: expected object, got int"),
    ({"faults": [{"type": "loss"}]}, "faults[0] has no at"),
    ({"actions": [{"type": 1}]}, "actions[0].type: expected str, got int"),
    ({"stages": ["calm"]}, "stages[0]: expected object, got str"),
    ({"thresholds": [{"metric": 1}]}, "thresholds[0].metric: expected str, got int"),
    ({"latency_wait_seconds": [1]}, "latency_wait_seconds: expected object | null, got array"),
    ({"latency_wait_seconds": {"n": "1"}}, "latency_wait_seconds[...]: expected float | null, got str"),
    ({"pressure_seconds_by_level": 3}, "pressure_seconds_by_level: expected object, got int"),
    ({"worst": [1]}, "worst: expected object, got array"),
]


@pytest.mark.parametrize(("change", "words"), SUMMARIES)
def test_a_key_of_a_summary_that_has_another_type_is_named(
    whole: Path, tmp_path: Path, change: dict[str, object], words: str
) -> None:
    folder = copied(whole, tmp_path / "run", checked=False)
    path = folder / "summary.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    assert refusal(lambda: read_summary(folder)) == f"{path}: the run directory is damaged: {words}"


@pytest.mark.parametrize("content", ["", "[]", "{", '{"a": ' + "[" * 100_000, '{"seed": 1e999}', "\udcff"])
@pytest.mark.parametrize("name", ["summary.json", "manifest.json"])
def test_json_that_is_none_is_one_line(whole: Path, tmp_path: Path, name: str, content: str) -> None:
    folder = copied(whole, tmp_path / "run", checked=name == "manifest.json")
    (folder / name).write_bytes(content.encode(errors="surrogateescape"))
    assert refusal(lambda: read_summary(folder)).startswith(f"{folder / name}: ")


@pytest.mark.parametrize("content", ["", "[]", '{"a": ' + "[" * 100_000, '{"combination": 1}'])
def test_a_run_of_a_sweep_whose_mark_is_damaged_is_one_line(
    whole: Path, tmp_path: Path, content: str
) -> None:
    """The sweep would else take it for a run of its own, or end with a traceback."""
    scenario = parse(TINY, "tiny.yaml")
    run = SweepRun(Combination("a", "a", None, {}, scenario), 5, scenario, "model", "digest")
    place = tmp_path / "a" / "seed-5"
    shutil.copytree(whole, place)
    (place / "combination.json").write_text(content)
    words = f"{place}: is no run of this sweep: give another --out, or remove it"
    assert refusal(lambda: list_missing([run], tmp_path)) == words


def column(name: str, values: list[Any]) -> Callable[[pa.Table], pa.Table]:
    return lambda table: table.set_column(table.column_names.index(name), name, [values])


TABLES = [
    ("devices.parquet", lambda table: table.slice(1), "has 5 devices, but summary.json says 6"),
    ("devices.parquet", column("device", ["phone-00000"] * 6), "5 devices are there twice"),
    ("devices.parquet", column("user", ["x"] * 6), "user must be whole numbers"),
    ("devices.parquet", column("group", [1] * 6), "group must be text"),
    ("devices.parquet", column("networks", [["x"]] * 6), "network_ns and networks must be of one length"),
    ("devices.parquet", column("labels", ["x"] * 6), "labels must be labels"),
    ("devices.parquet", column("new_user_ns", [[1.5]] * 6), "new_user_ns must be lists of whole numbers"),
    ("devices.parquet", lambda table: table.drop(["device"]), "no column device"),
    ("metrics.parquet", lambda table: table.slice(0, 0), "no row of the dimension all"),
    ("metrics.parquet", lambda table: table.drop(["number"]), "no column number"),
]


@pytest.mark.parametrize(("name", "change", "words"), TABLES)
def test_a_table_that_was_changed_without_checksums_is_named(
    whole: Path, tmp_path: Path, name: str, change: Callable[[pa.Table], pa.Table], words: str
) -> None:
    folder = copied(whole, tmp_path / "run", checked=False)
    pq.write_table(change(pq.read_table(folder / name)), folder / name)
    said = refusal(lambda: compare_logs(folder, folder, 1))
    assert said == f"{folder / name}: the run directory is damaged: {words}"


def test_a_device_that_is_not_of_the_run_is_named(whole: Path, tmp_path: Path) -> None:
    folder = copied(whole, tmp_path / "run", checked=False)
    path = folder / part("quality")
    rows = pq.read_table(path)
    strange = column("device", [6, *rows["device"].to_pylist()[1:]])(rows)
    pq.write_table(strange, path)
    words = f"{path}: the run directory is damaged: device(=6) must be from 0 to 5"
    assert refusal(lambda: reported(folder)) == words


NAMES = (
    "summary.json", "scenario.yaml", "manifest.json", "devices.parquet", "metrics.parquet",
    *(part(name) for name in ("budget", "quality", "update", "fault", "connection")),
)  # fmt: skip
PLAIN: tuple[Any, ...] = (None, True, -1, 0, 10**30, 0.5, "x", "\x1b[31m", [], ["x"], [1], {}, {"p50": "x"})


def places(value: object, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of every value inside *value*."""
    listed = enumerate(value) if isinstance(value, list) else ()
    for key, inner in value.items() if isinstance(value, dict) else listed:
        yield (*path, key)
        yield from places(inner, (*path, key))


def replace_value(path: Path, at: int, new: int) -> None:
    """Put another value in place of the one number *at* of a file of JSON, or none."""
    tree = json.loads(path.read_text())
    found = [*places(tree)]
    *before, last = found[at % len(found)]
    inner = functools.reduce(lambda whole, key: whole[key], before, tree)
    if new % 4:
        inner[last] = PLAIN[new % len(PLAIN)]
    else:
        del inner[last]
    path.write_text(json.dumps(tree))


def cut(path: Path, at: int, _new: int) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: at % len(content)])


def change_bytes(path: Path, at: int, new: int) -> None:
    content = bytearray(path.read_bytes())
    at %= len(content)
    content[at : at + 1] = new.to_bytes(3, "little").rstrip(b"\0") or b"\0"
    path.write_bytes(content)


def replace_byte(path: Path, at: int, new: int) -> None:
    content = bytearray(path.read_bytes())
    content[at % len(content)] ^= new % 255 + 1
    path.write_bytes(content)


def delete(path: Path, _at: int, _new: int) -> None:
    path.unlink()


@pytest.fixture(scope="module")
def answers(whole: Path) -> dict[str, object]:
    return {name: reader(whole) for name, reader in READERS.items()}


def result(act: Callable[[], object]) -> object:
    try:
        return act()
    except InputError as error:
        return error


@given(
    name=st.sampled_from(NAMES),
    damage=st.sampled_from([delete, cut, change_bytes, replace_byte, replace_value]),
    at=st.integers(0, 2**20),
    new=st.integers(0, 2**16),
    reader=st.sampled_from([*READERS]),
    checked=st.booleans(),
)
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_is_damaged_is_read_as_it_was_or_refused_in_a_line(
    tmp_path_factory: pytest.TempPathFactory,
    whole: Path,
    answers: dict[str, object],
    name: str,
    damage: Callable[[Path, int, int], None],
    at: int,
    new: int,
    reader: str,
    checked: bool,
) -> None:
    """Without checksums a damage may pass for another figure; it is still no traceback."""
    if damage is replace_value and not name.endswith("json"):
        name = "summary.json"
    checked = checked or name == "manifest.json"
    folder = copied(whole, tmp_path_factory.mktemp("damaged") / whole.name, checked=checked)
    damage(folder / name, at, new)
    said = result(functools.partial(READERS[reader], folder))
    shutil.rmtree(folder)
    if isinstance(said, InputError):
        assert "\n" not in str(said)
    elif checked:
        assert said == answers[reader]
