"""Classes of devices, by their hardware."""

import msgspec

from devices.event_log import Pressure
from wire.units import BYTE_UNITS, BitsPerSecond, Bytes, Share, format_bytes, format_share

GIB = BYTE_UNITS["GiB"]


_NORMAL, _MODERATE, _LOW, _CRITICAL = Pressure  # looked up once: it takes as long as a call


class DeviceClass(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A class of devices."""

    memory: Bytes = Bytes(8 * GIB)
    """Memory of the device; no more than that is ever free."""
    apply_rate: BitsPerSecond | None = None
    """Bits a second at which a device takes in an update that has arrived; null: at once."""
    moderate: Share = Share(0.3)
    """Below this share of free memory its pressure is moderate."""
    low: Share = Share(0.15)
    """Below this share it is low."""
    critical: Share = Share(0.05)
    """Below this share it is critical."""

    def __post_init__(self) -> None:
        if self.memory <= 0:
            raise ValueError(f"memory(={format_bytes(self.memory)}) must be > 0")
        if self.apply_rate is not None and self.apply_rate <= 0:
            raise ValueError(f"apply_rate(={self.apply_rate} bps) must be > 0, or null")
        if self.low > self.moderate:
            raise ValueError(
                f"low(={format_share(self.low)}) must not exceed moderate(={format_share(self.moderate)})"
            )
        if self.critical > self.low:
            raise ValueError(
                f"critical(={format_share(self.critical)}) must not exceed low(={format_share(self.low)})"
            )

    def pressure(self, free_bytes: int) -> Pressure:
        """Return the memory pressure with *free_bytes* free."""
        free = free_bytes / self.memory
        if free >= self.moderate:
            return _NORMAL
        if free >= self.low:
            return _MODERATE
        return _LOW if free >= self.critical else _CRITICAL
