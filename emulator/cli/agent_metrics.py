"""Metrics of ``peelfleet agent`` over HTTP; without them an agent does not need the library for it."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from devices.standalone.device import RealDevice
from devices.standalone.prometheus import DeviceCollector
from devices.standalone.settings import DeviceSettings
from wire.prometheus.http_server import Health, is_responsive, serve_metrics


@contextmanager
def device_metrics(device: RealDevice, settings: DeviceSettings, host: str, port: int) -> Iterator[None]:
    """Serve the metrics and the health of a device; it is ready when it knows the cloud's model.

    Raises:
        InputError: the port cannot be used.
    """
    loop = asyncio.get_running_loop()
    health = Health(alive=lambda: is_responsive(loop), ready=lambda: device.notice is not None)
    with serve_metrics(host, port, DeviceCollector(device, settings.device, settings.fleet), health):
        yield
