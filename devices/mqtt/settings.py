"""Settings of a run in real time."""

from typing import Annotated, Literal

import msgspec

from wire.units import TIME_UNITS, Duration, format_duration


class RealtimeSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Settings of a run in real time; other clocks ignore them."""

    speed: Annotated[float, msgspec.Meta(gt=0, le=1000)] = 1.0
    """Simulated seconds per second of wall-clock time. The broker and the cloud are real and are not sped
    up: at speed 20, a millisecond of theirs is 20 ms for the fleet."""
    max_lag: Duration = Duration(TIME_UNITS["s"])
    """Maximum delay of an event, in wall-clock time. A longer delay means that this machine is too slow: the
    run fails; with `--live` it continues, counts the delays, and warns."""
    connections: Literal["per_device", "pooled"] = "per_device"
    """`per_device`: each device has its own MQTT session, with keep-alive, last will and reconnection.
    `pooled`: all devices of a shard share one connection: it costs less, but cannot break for one of them."""
    connect_rate: Annotated[float, msgspec.Meta(gt=0, le=100_000)] = 500.0
    """Maximum number of connections that each shard opens per second of wall-clock time."""
    keep_alive: Duration = Duration(60 * TIME_UNITS["s"])
    """Longest silence of a device's connection, in wall-clock time. After one and a half times as long, the
    broker publishes its last will."""
    persistent: bool = True
    """True if the broker keeps the session of an offline device and queues messages for it."""
    replicas: Annotated[int, msgspec.Meta(ge=1, le=64)] = 1
    """Number of cloud services that share the load by a shared subscription."""

    def __post_init__(self) -> None:
        if self.max_lag <= 0:
            raise ValueError(f"max_lag(={format_duration(self.max_lag)}) must be > 0")
        if not TIME_UNITS["s"] <= self.keep_alive <= 65_535 * TIME_UNITS["s"]:
            raise ValueError(
                f"keep_alive(={format_duration(self.keep_alive)}) must be from 1 s to 65535 s, as in MQTT"
            )
        if self.keep_alive % TIME_UNITS["s"]:
            raise ValueError(f"keep_alive(={format_duration(self.keep_alive)}) must be whole seconds")
