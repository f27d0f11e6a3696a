"""What docs/monitor.md says is what fleets and devices show."""

from devices.standalone.device import RealDevice
from devices.standalone.prometheus import DeviceCollector
from devices.standalone.settings import DeviceSettings
from emulator.metrics.prometheus import FleetCollector
from emulator.metrics.timeline import RunTimeline
from scenarios.language.load import parse
from tests.emulator.realtime.test_live import CALM, FAULTS
from tests.pages import DOCS, metric_rows, metrics_of
from wire.mqtt.connection import Connection

PAGE = DOCS / "monitor.md"


def test_the_metrics_of_a_fleet_are_those_of_the_table() -> None:
    collector = FleetCollector(RunTimeline.from_scenario(parse(FAULTS, "tiny.yaml")), "tiny")
    collector.add(CALM)
    assert metric_rows(PAGE, "Metrics of a fleet") == metrics_of(collector.collect())


def test_the_metrics_of_a_device_are_those_of_the_table() -> None:
    connection = Connection("127.0.0.1", 1883, "d1", "d1", "x")
    device = RealDevice(DeviceSettings("f", "d1", 0, None), connection, lambda: 0, lambda: 0.0)
    device.counts.refused["malformed"] += 1
    device.counts.count_error("unknown_user")
    assert metric_rows(PAGE, "Metrics of a device") == metrics_of(
        DeviceCollector(device, "d1", "f").collect()
    )
