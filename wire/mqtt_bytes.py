"""Byte accounting: the bytes of a message on the wire, by formula.

    PUBLISH = 1 + varlen(r) + r, with r = 2 + |topic| + (2 if QoS > 0) + |payload|
    wire    = PUBLISH + 52 * ceil(PUBLISH / 1448)

52 is 20 IPv4 + 20 TCP + 12 timestamps; 1448 is the segment size at an MTU of 1500. Pure TCP acknowledgements
are excluded: they depend on timing, not on the message. Retransmissions, TLS and Ethernet are excluded too.
"""

import functools
from collections.abc import Sequence

SEGMENT_BYTES = 1448
SEGMENT_HEADER_BYTES = 52


def publish_bytes(topic_bytes: int, payload_bytes: int, qos: int) -> int:
    """Return the size of an MQTT 3.1.1 PUBLISH packet (section 3.3)."""
    return _packet_bytes(2 + topic_bytes + (2 if qos else 0) + payload_bytes)


def _packet_bytes(remaining: int) -> int:
    length_digits = 1 if remaining < 128 else 2 if remaining < 16384 else 3 if remaining < 2097152 else 4
    return 1 + length_digits + remaining


def subscribe_bytes(topics: Sequence[str]) -> tuple[int, int]:
    """Return the sizes of an MQTT 3.1.1 SUBSCRIBE and of the UNSUBSCRIBE that ends it (3.8, 3.10)."""
    names = sum(2 + len(topic) for topic in topics)
    return _packet_bytes(2 + names + len(topics)), _packet_bytes(2 + names)


def suback_bytes(topics: int) -> tuple[int, int]:
    """Return the sizes of the SUBACK and the UNSUBACK for that many topics (3.9, 3.11)."""
    return _packet_bytes(2 + topics), _packet_bytes(2)


@functools.lru_cache(maxsize=2**16)  # called for every message of a fleet
def publish_wire_bytes(topic_bytes: int, payload_bytes: int, qos: int) -> int:
    """Return the bytes of an MQTT PUBLISH with TCP and IP headers on its data segments."""
    return wire_bytes(publish_bytes(topic_bytes, payload_bytes, qos))


def wire_bytes(mqtt_bytes: int) -> int:
    """Return the bytes of an MQTT packet with TCP and IP headers on its data segments."""
    return mqtt_bytes + SEGMENT_HEADER_BYTES * -(-mqtt_bytes // SEGMENT_BYTES)


PUBACK_WIRE_BYTES = wire_bytes(4)
"""Bytes of the confirmation of a QoS 1 PUBLISH (section 3.4), in a segment of its own."""
