"""Replay: a recorded run played again, as it was or under other policies.

Budgets, pressure, presence and users come from the recording, whatever is changed. Where nothing is changed
that could change what the fleet does, exchanges come from it too, and the event log is the same; else they go
as the links' own streams and the scenario's cloud make them go, as in any run.
"""

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import pyarrow as pa

from devices.simulated.recorded import RecordedDevice
from devices.simulated.roster import DeviceSpec, device_names
from emulator.replay.recorded_run import RecordedRun, read_recorded_run
from emulator.run_directory.event_log import logical_sha256, read_table, read_tables
from emulator.run_directory.layout import DEVICES, EVENTS, PARTIAL, SCENARIO, read_scenario, read_summary
from scenarios.language.load import parse
from scenarios.language.scenario import Scenario
from scenarios.language.types import plain
from wire.errors import InputError

EXECUTION_KEYS: Final = ("clock", "broker", "realtime", "description", "warmup", "thresholds", "sweep")
"""Keys that say how a run is carried out: its log is the same with others."""

POLICY_KEYS: Final = ("model", "cloud", "updates", "networks", "rollout")
"""Keys that say what the fleet and the cloud do about budgets, and on what links."""

RECORDED_KEYS: Final = (
    "version",
    "name",
    "seed",
    "stop_time",
    "data",
    "fleet",
    "nodes",
    "stages",
    "actions",
    "faults",
)
"""Keys that made the recording: other values would contradict it."""

_ALSO_POLICY: Final = re.compile(r"fleet\[\d+\]\.budget\.publish\b.*|nodes\.[^.]+\.apply_rate")


@dataclass(frozen=True)
class Playback:
    """A recorded run that is to be played again."""

    folder: Path
    """The recording."""
    log_sha256: str
    """The hash of its event log, as it lies there."""
    model_version: str
    changes: tuple[str, ...]
    """What is changed, as ``key=value``."""
    users: Sequence[int] = field(repr=False)
    """Of each device, by its number."""
    start_ns: Sequence[int] = field(repr=False)
    acts: RecordedRun = field(repr=False)

    @property
    def exact(self) -> bool:
        """Whether exchanges are played as recorded, and the log must be the same."""
        return not self.changes

    def cast(self, devices: Sequence[DeviceSpec], measurable: Collection[int]) -> tuple[DeviceSpec, ...]:
        """Return *devices* with the users that they had, who must be among the *measurable*.

        Raises:
            InputError: one is not.
        """
        known = set(measurable)
        for device, user in zip(devices, self.users, strict=True):
            if user not in known:
                raise InputError(
                    f"{self.folder / DEVICES}: user(={user}) of device {device.name} has no test "
                    "interactions: these are not the data of the recording"
                )
        return tuple(
            replace(device, user=user, start_ns=start_ns)
            for device, user, start_ns in zip(devices, self.users, self.start_ns, strict=True)
        )

    def of(self, enrolled: DeviceSpec, scenario: Scenario) -> RecordedDevice:
        """Return what the recording has of a device."""
        return self.acts.of(enrolled, scenario.nodes[enrolled.group.node], exchanges=self.exact)

    def mismatches(self, model_version: str) -> Iterator[str]:
        """Yield a warning for each difference from the recording that nobody asked for.

        Args:
            model_version: the model of the replay.
        """
        asked = any(change.startswith("model") for change in self.changes)
        if not asked and model_version != self.model_version:
            yield (
                f"the recording had model {self.model_version}, this is {model_version}: updates "
                "differ in size and quality; trained on another machine, or from other data?"
            )

    def note(self, log_sha256: object) -> dict[str, object]:
        """Return what the summary of the replay says of it.

        Args:
            log_sha256: the hash of the replay's own event log.
        """
        return {
            "replay_of": self.log_sha256,
            "replay_changes": list(self.changes),
            "replay_log_equal": log_sha256 == self.log_sha256,
        }


def read_replay(
    folder: Path, overrides: Sequence[str], clock: str | None = None
) -> tuple[Scenario, Playback, list[str]]:
    """Return the scenario to play, the recording, and what the user should know of it.

    Args:
        folder: a finished run directory.
        overrides: what to change, as after ``--set``.
        clock: under which to play; the default is ``virtual``, which needs no broker.

    Raises:
        InputError: it is no finished run, it is damaged, or a change contradicts it.
    """
    summary, recorded = read_run(folder)
    overrides = ["clock=virtual", *overrides, *([f"clock={clock}"] if clock else [])]
    scenario = parse(read_scenario(folder), str(folder / SCENARIO), overrides)
    changes = tuple(check_changes(recorded, scenario))
    names = tuple(device_names(scenario.fleet))
    tables = read_tables(folder / EVENTS)
    acts = read_recorded_run(folder / EVENTS, tables, names, scenario.faults)
    users, start_ns = _read_devices(folder / DEVICES, names)
    log_sha256, version = logical_sha256(tables), str(summary["model_version"])
    warnings = []
    if log_sha256 != summary["event_log_sha256"]:
        warnings.append(f"{folder}: the event log is not the one that the run wrote; it is played as it is")
    return scenario, Playback(folder, log_sha256, version, changes, users, start_ns, acts), warnings


def read_run(folder: Path) -> tuple[dict[str, object], Scenario]:
    """Return the summary and the scenario of a finished run.

    Raises:
        InputError: it is none, or it is damaged.
    """
    if folder.name.endswith(PARTIAL):
        raise InputError(f"{folder}: this run did not finish")
    return read_summary(folder), parse(read_scenario(folder), str(folder / SCENARIO))


def check_changes(recorded: Scenario, scenario: Scenario) -> Iterator[str]:
    """Yield what of *scenario* differs from what was recorded, as ``key=value``; how it is run aside.

    Raises:
        InputError: something contradicts the recording.
    """
    for path, before, after in list_differences(plain(recorded), plain(scenario)):
        key = re.split(r"[.\[]", path)[0]
        if key in EXECUTION_KEYS:
            continue
        if key not in POLICY_KEYS and not _ALSO_POLICY.fullmatch(path):
            raise InputError(
                f"{path}(={_shown(after)}) was {_shown(before)} in the recording: a replay plays what was "
                f"recorded, and may change {', '.join((*POLICY_KEYS, *EXECUTION_KEYS))}, "
                "fleet[].budget.publish and nodes.NAME.apply_rate only"
            )
        yield f"{path}={_shown(after)}"


def list_differences(before: object, after: object, path: str = "") -> Iterator[tuple[str, object, object]]:
    """Yield the path of each value that differs, with both values; None where there is none."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in {**before, **after}:
            inner = f"{path}.{key}" if path else str(key)
            yield from list_differences(before.get(key), after.get(key), inner)
    elif isinstance(before, list | tuple) and isinstance(after, list | tuple) and len(before) == len(after):
        for at, (one, other) in enumerate(zip(before, after, strict=True)):
            yield from list_differences(one, other, f"{path}[{at}]")
    elif before != after:
        yield path, before, after


def _shown(value: object) -> str:
    if isinstance(value, list | tuple | dict):
        return f"{len(value)} entries"
    return "null" if value is None else str(value)


def _read_devices(path: Path, names: Sequence[str]) -> tuple[list[int], list[int]]:
    """Return the user and the start of each device."""
    table = read_table(path, ("device", "user", "start_ns"))
    if table["device"].to_pylist() != list(names):
        raise InputError(f"{path}: the run directory is damaged: its devices are not those of the scenario")
    for name in ("user", "start_ns"):
        if table[name].null_count or not pa.types.is_integer(table[name].type):
            raise InputError(f"{path}: the run directory is damaged: {name} must be whole numbers")
    return table["user"].to_pylist(), table["start_ns"].to_pylist()
