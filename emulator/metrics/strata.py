"""The groups of which the devices of a run are a sample."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Self

import numpy as np
import pyarrow as pa

from emulator.metrics.row_index import IntArray


@dataclass(frozen=True, eq=False)
class Strata:
    """The group of each device of a sample, of which the sample is a part."""

    group: Sequence[str]
    fleet_devices: IntArray
    """Number of devices of the fleet in the group of each device."""
    sampled_devices: IntArray
    """Number of devices of the sample in the group of each device."""

    @classmethod
    def read(cls, devices: pa.Table) -> Self | None:
        """Return the groups in a table of devices; None if it has all devices of the fleet."""
        if "fleet_devices" not in devices.column_names:
            return None
        fleet, sampled = (
            devices[name].to_numpy().astype(np.int64) for name in ("fleet_devices", "sampled_devices")
        )
        return cls(devices["group"].to_pylist(), fleet, sampled)

    def weights(self) -> Mapping[Fraction, IntArray]:
        """Return the devices that stand for the same number of devices, by that number."""
        pairs, place = np.unique(
            np.stack([self.fleet_devices, self.sampled_devices]), axis=1, return_inverse=True
        )
        weights = [Fraction(fleet, sampled) for fleet, sampled in pairs.T.tolist()]
        return {
            weight: np.flatnonzero(
                np.isin(place.ravel(), [number for number, each in enumerate(weights) if each == weight])
            )
            for weight in dict.fromkeys(weights)
        }

    def merged(self, other: Self) -> Self:
        """Return the groups of the devices of both."""
        return type(self)(
            [*self.group, *other.group],
            np.concatenate([self.fleet_devices, other.fleet_devices]),
            np.concatenate([self.sampled_devices, other.sampled_devices]),
        )
