"""What a scenario says of a run in real time."""

from typing import Annotated, Literal

import msgspec

from wire.units import TIME_UNITS, Duration, format_duration


class Realtime(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How a run in real time goes; other clocks do not look at it."""

    speed: Annotated[float, msgspec.Meta(gt=0, le=1000)] = 1.0
    """Simulated seconds in a second of wall-clock time. What is real, the broker and the cloud, is not sped
    up: at speed 20 a millisecond of theirs is 20 ms of the fleet's."""
    max_lag: Duration = Duration(TIME_UNITS["s"])
    """How late, in wall-clock time, an event of the schedule may happen; beyond it the run fails, because
    this machine cannot keep up; with `--live` it continues, counts how often, and warns."""
    connections: Literal["per_device", "pooled"] = "per_device"
    """Whether each device has an MQTT session of its own, with keep-alive, last will and reconnection; or the
    devices of a shard share one connection, which is cheaper and never breaks for one of them alone."""
    connect_rate: Annotated[float, msgspec.Meta(gt=0, le=100_000)] = 500.0
    """The most connections that each shard begins in a second of wall-clock time."""
    keep_alive: Duration = Duration(60 * TIME_UNITS["s"])
    """How long, in wall-clock time, a device's connection may be silent: after half as long again the broker
    publishes its last will."""
    persistent: bool = True
    """Whether the broker keeps a device's session, and what is sent to it, while the device is away."""
    replicas: Annotated[int, msgspec.Meta(ge=1, le=64)] = 1
    """Cloud services that share the load by a shared subscription."""

    def __post_init__(self) -> None:
        if self.max_lag <= 0:
            raise ValueError(f"max_lag(={format_duration(self.max_lag)}) must be > 0")
        if not TIME_UNITS["s"] <= self.keep_alive <= 65_535 * TIME_UNITS["s"]:
            raise ValueError(
                f"keep_alive(={format_duration(self.keep_alive)}) must be from 1 s to 65535 s, as in MQTT"
            )
        if self.keep_alive % TIME_UNITS["s"]:
            raise ValueError(f"keep_alive(={format_duration(self.keep_alive)}) must be whole seconds")
