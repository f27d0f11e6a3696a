"""The byte formulas against packet captures of a real broker (200 exchanges each, MTU 1500)."""

import pytest

from wire.mqtt_bytes import publish_bytes, wire_bytes

PUBACK = 4


@pytest.mark.parametrize(
    ("payload", "qos", "mqtt_down", "ip_down_without_pure_acks"),
    [(60, 0, 82, 134), (60, 1, 88, 244 - 52), (4096, 0, 4119, 4275), (4096, 1, 4125, 4385 - 52)],
)
def test_formula_equals_the_capture(
    payload: int, qos: int, mqtt_down: int, ip_down_without_pure_acks: int
) -> None:
    topic = 82 - 60 - 2 - 2  # the captured topic's length, from the smallest packet
    packets = [publish_bytes(topic, payload, qos)] + ([PUBACK] if qos else [])
    assert sum(packets) == mqtt_down
    assert sum(map(wire_bytes, packets)) == ip_down_without_pure_acks
