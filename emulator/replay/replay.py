"""Replay of a recorded run, unchanged or with other policies.

Budgets, pressure, connections and users always come from the recording. In an unchanged replay exchanges come
from it, too, and the event log is the same. In a changed replay exchanges are simulated as in any other run,
with the random streams of the links and the scenario's cloud.
"""

import operator
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, overload

import numpy as np

from devices.simulated.recorded import RecordedDevice
from devices.simulated.roster import DeviceNames, DeviceSpec
from emulator.live.deeds import DEEDS, Deed, read_deeds, write_deeds
from emulator.metrics.row_index import IntArray
from emulator.replay.recorded_run import RecordedRun
from emulator.run_directory.device_reader import DeviceReader
from emulator.run_directory.layout import DEVICES, PARTIAL, SCENARIO, read_scenario, read_summary
from emulator.run_directory.manifest import MANIFEST, check_file, read_entries
from emulator.run_directory.plugins_used import read_plugins
from emulator.run_directory.run_tables import damaged
from scenarios.language.load import parse
from scenarios.language.scenario import Scenario
from scenarios.language.types import plain
from wire.errors import InputError
from wire.plugins.installed import list_changed

EXECUTION_KEYS: Final = (
    "clock", "engine", "broker", "realtime", "description", "warmup", "metrics", "thresholds",
    "prices", "sweep",
)  # fmt: skip
"""Keys that do not change the event log: they only say how a run is executed."""

POLICY_KEYS: Final = ("model", "cloud", "updates", "networks", "rollout")
"""Keys that a replay may change: policies of the fleet and of the cloud, and the links."""

RECORDED_KEYS: Final = (
    "version",
    "name",
    "seed",
    "stop_time",
    "data",
    "interactions",
    "retrain",
    "sample",
    "fleet",
    "nodes",
    "stages",
    "actions",
    "faults",
)
"""Keys that a replay may not change: other values would contradict the recording."""

_ALSO_POLICY: Final = re.compile(r"fleet\[\d+\]\.budget\.publish\b.*|nodes\.[^.]+\.apply_rate")


@dataclass(frozen=True)
class Playback:
    """A recorded run, ready to be replayed."""

    folder: Path
    """Run directory of the recording."""
    log_sha256: str
    """Hash of its event log as read."""
    model_version: str
    changes: tuple[str, ...]
    """The changed settings, as ``key=value``."""
    users: IntArray = field(repr=False)
    """The user of each device, by its number."""
    start_ns: IntArray = field(repr=False)
    recorded_run: RecordedRun = field(repr=False)
    deeds: tuple[Deed, ...] = ()
    """Deeds by hand on the recorded run: its budgets and connections are what they made of them."""

    @property
    def exact(self) -> bool:
        """True if nothing is changed: exchanges come from the recording, and the log must be the same."""
        return not self.changes

    def assign_users(self, devices: Sequence[DeviceSpec], measurable: Collection[int]) -> "RecordedRoster":
        """Return *devices* with the users and starts of the recording.

        Raises:
            InputError: a user is not *measurable*.
        """
        unknown = np.flatnonzero(~np.isin(self.users, list(measurable)))
        if len(unknown):
            number = int(unknown[0])
            raise InputError(
                f"{self.folder / DEVICES}: user(={self.users[number]}) of device {devices[number].name} "
                "has no test interactions: these are not the data of the recording"
            )
        return RecordedRoster(devices, self.users, self.start_ns)

    def recorded_device(self, enrolled: DeviceSpec, scenario: Scenario) -> RecordedDevice:
        """Return the recording of a device."""
        return self.recorded_run.device(enrolled, scenario.nodes[enrolled.group.node], exchanges=self.exact)

    @property
    def stopped_ns(self) -> int | None:
        """The simulated time at which somebody stopped the recorded run; None: nobody did."""
        stops = [deed.at_ns for deed in self.deeds if deed.command.kind == "stop"]
        return stops[0] if stops else None

    def copy_deeds(self, folder: Path) -> None:
        """Copy the deeds by hand into the run directory of the replay, which plays what they did."""
        if self.deeds:
            write_deeds(folder / DEEDS, self.deeds)

    def mismatches(self, model_version: str) -> Iterator[str]:
        """Yield a warning for each difference from the recording that is not a requested change.

        Args:
            model_version: the model version of the replay.
        """
        asked = any(change.startswith("model") for change in self.changes)
        if not asked and model_version != self.model_version:
            yield (
                f"the recording had model {self.model_version}, this is {model_version}: updates "
                "differ in size and quality; trained on another machine, or from other data?"
            )

    def summary_keys(self, log_sha256: object) -> dict[str, object]:
        """Return the keys about the replay for its summary.

        Args:
            log_sha256: the hash of the replay's own event log.
        """
        return {
            "replay_of": self.log_sha256,
            "replay_changes": list(self.changes),
            "replay_log_equal": log_sha256 == self.log_sha256,
        }


@dataclass(frozen=True)
class RecordedRoster(Sequence[DeviceSpec]):
    """The devices of a roster with the users and starts of a recording, each made when it is asked for."""

    roster: Sequence[DeviceSpec]
    user_of: IntArray
    start_ns: IntArray

    def __len__(self) -> int:
        return len(self.roster)

    @overload
    def __getitem__(self, key: int) -> DeviceSpec: ...

    @overload
    def __getitem__(self, key: slice) -> tuple[DeviceSpec, ...]: ...

    def __getitem__(self, key: int | slice) -> DeviceSpec | tuple[DeviceSpec, ...]:
        if isinstance(key, slice):
            return tuple(map(self._recorded, self.roster[key]))
        return self._recorded(self.roster[key])

    def _recorded(self, spec: DeviceSpec) -> DeviceSpec:
        number = spec.number
        return replace(spec, user=int(self.user_of[number]), start_ns=int(self.start_ns[number]))


def read_replay(
    folder: Path, overrides: Sequence[str], clock: str | None = None
) -> tuple[Scenario, Playback, list[str]]:
    """Return the scenario to run, the recording, and warnings.

    Args:
        folder: a finished run directory.
        overrides: changed settings, as after ``--set``.
        clock: of the replay; the default is ``virtual``, which needs no broker.

    Raises:
        InputError: the folder is no finished run, is damaged, or a change contradicts it.
    """
    summary, recorded = read_run(folder)
    if recorded.interactions is not None:
        raise InputError(
            f"{folder}: users met items in this run (interactions), which a replay cannot play: run its "
            "scenario again"
        )
    overrides = ["clock=virtual", *overrides, *([f"clock={clock}"] if clock else [])]
    scenario = parse(read_scenario(folder), str(folder / SCENARIO), overrides)
    changes = tuple(check_changes(recorded, scenario))
    recorded_run = RecordedRun(folder, scenario.faults)
    log_sha256, version = recorded_run.check(), str(summary["model_version"])
    users, start_ns = _read_devices(folder, DeviceNames(scenario.fleet, scenario.seed, scenario.sample))
    warnings = [f"{folder}: was run with the {line}" for line in list_changed(read_plugins(folder))]
    if log_sha256 != summary["event_log_sha256"]:
        warnings.append(f"{folder}: the event log is not the one that the run wrote; it is played as it is")
    entry = (read_entries(folder / MANIFEST) or {}).get(DEEDS)
    if entry is not None:
        check_file(folder / DEEDS, entry)
    deeds = tuple(read_deeds(folder / DEEDS))
    playback = Playback(folder, log_sha256, version, changes, users, start_ns, recorded_run, deeds)
    return scenario, playback, warnings


def read_run(folder: Path) -> tuple[dict[str, object], Scenario]:
    """Return the summary and the scenario of a finished run.

    Raises:
        InputError: the folder is no finished run, or is damaged.
    """
    if folder.name.endswith(PARTIAL):
        raise InputError(f"{folder}: this run did not finish")
    return read_summary(folder), parse(read_scenario(folder), str(folder / SCENARIO))


def check_changes(recorded: Scenario, scenario: Scenario) -> Iterator[str]:
    """Yield each setting of *scenario* that differs from the recording, as ``key=value``.

    `EXECUTION_KEYS` are left out.

    Raises:
        InputError: a setting contradicts the recording.
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
    """Yield the path of each value that differs, with both values; None stands for a missing value."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in {**before, **after}:
            inner = f"{path}.{key}" if path else str(key)
            yield from list_differences(before.get(key), after.get(key), inner)
    elif isinstance(before, list | tuple) and isinstance(after, list | tuple) and len(before) == len(after):
        for index, (one, other) in enumerate(zip(before, after, strict=True)):
            yield from list_differences(one, other, f"{path}[{index}]")
    elif before != after:
        yield path, before, after


def _shown(value: object) -> str:
    if isinstance(value, list | tuple | dict):
        return f"{len(value)} entries"
    return "null" if value is None else str(value)


def _read_devices(folder: Path, names: DeviceNames) -> tuple[IntArray, IntArray]:
    """Return the user and the start of each device."""
    devices = DeviceReader(folder, ("user", "start_ns"))
    if len(devices) != len(names) or any(map(operator.ne, names, devices.iterate_ids())):
        raise damaged(folder / DEVICES, "its devices are not those of the scenario")
    return devices.numbers("user"), devices.numbers("start_ns")
