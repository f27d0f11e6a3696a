"""The sizes of messages, computed without making them: reports, qualities and the parts of updates.

The encoders are the definition (`wire.messages`, `wire.update_part`, `cloud.service.responder`);
`tests/devices/kernel/test_message_sizes.py` compares.
"""

from typing import Any

from devices.kernel.compiler import compiled, fixed
from devices.kernel.layout import Run
from wire.mqtt_bytes import SEGMENT_BYTES, SEGMENT_HEADER_BYTES
from wire.update_part import TENSOR_TYPES


def _described(name: str) -> int:
    """Return the bytes of a tensor's description in a header, without its three numbers."""
    return len(f',"{name}":{{"dtype":"{TENSOR_TYPES[name]}","shape":[],"data_offsets":[,]}}')


_VECTOR, _BLOCKS, _BYTES = fixed(
    _described("user_vector"), _described("layer_blocks"), _described("layer_bytes")
)
_SCALES, _IDS, _SIZES, _DATA = fixed(*(_described(name) for name in ("scales", "ids", "sizes", "data")))
_ZERO, _ONE, _TWO, _FOUR = fixed(0, 1, 2, 4)
(_FIELDS,) = fixed(len('","model":"","group":"","first":"","target":"","part":"","parts":""}'))
(_HEADER,) = fixed(len('{"__metadata__":{"crc32":"00000000","seq":"') + 1)


@compiled
def digits(number: int) -> int:
    """Return the number of decimal digits of a number that is not negative."""
    count = 1
    while number >= 10:
        number //= 10
        count += 1
    return count


@compiled
def publish_wire(topic_bytes: int, payload_bytes: int, qos: int) -> int:
    """Return the bytes of a PUBLISH on the wire, as `wire.mqtt_bytes.publish_wire_bytes`."""
    remaining = 2 + topic_bytes + (2 if qos > 0 else 0) + payload_bytes
    length = 1 if remaining < 128 else 2 if remaining < 16384 else 3 if remaining < 2097152 else 4
    packet = 1 + length + remaining
    return packet + SEGMENT_HEADER_BYTES * ((packet + SEGMENT_BYTES - 1) // SEGMENT_BYTES)


@compiled
def stored(run: Run, group: int, blocks: int) -> int:
    """Return the bytes of the first *blocks* blocks of a ranking with their overhead."""
    return int(run.starts[run.rankings[group] + blocks] + blocks * run.settings[0].overhead)


@compiled
def part_end(run: Run, group: int, first: int, target: int) -> int:
    """Return the end of the part that begins with block *first*, as `part_ends` of the responder."""
    room = stored(run, group, first) + run.settings[0].part_room
    if stored(run, group, target) <= room:
        return target
    low, high = first, target
    while low < high:
        middle = (low + high) // 2
        if stored(run, group, middle) <= room:
            low = middle + 1
        else:
            high = middle
    return low - 1


@compiled
def part_count(run: Run, group: int, first: int, target: int) -> int:
    """Return the number of parts of the blocks *first* to *target*."""
    count, end = 1, part_end(run, group, first, target)
    while end < target:
        end = part_end(run, group, end, target)
        count += 1
    return count


@compiled
def encoded(
    run: Run, seq: int, group: int, first: int, target: int, part: int, parts: int, tensors: int, data: int
) -> int:
    """Return the bytes of a part with *data* bytes of data and *tensors* bytes that describe them."""
    fields = _FIELDS + run.settings[0].version_bytes + digits(group) + digits(first) + digits(target)
    fields += digits(part) + digits(parts) + tensors
    header = _HEADER + digits(seq) + fields
    return int(8 + header + (-header % 8) + data)


@compiled
def _tensor(described: int, width: int, begin: int, size: int) -> int:
    """Return the bytes that describe a tensor of *size* bytes; 0 for an empty one, which is left out."""
    if size == 0:
        return 0
    return described + digits(size // width) + digits(begin) + digits(begin + size)


@compiled
def part_bytes(
    run: Run, seq: int, group: int, first: int, end: int, target: int, part: int, parts: int
) -> int:
    """Return the size of the part with the blocks *first* to *end* of an answer to report *seq*."""
    settings, blocks, at = run.settings[0], end - first, run.rankings[group]
    scales, ids = settings.scale_bytes * blocks, 2 * blocks
    sizes = ids if settings.is_embedded else 0
    data = run.starts[at + end] - run.starts[at + first]
    tensors = _tensor(_SCALES, _FOUR, _ZERO, scales) + _tensor(_IDS, _TWO, scales, ids)
    tensors += _tensor(_SIZES, _TWO, scales + ids, sizes) + _tensor(_DATA, _ONE, scales + ids + sizes, data)
    total = scales + ids + sizes + data
    return encoded(run, seq, group, first, target, part, parts, tensors, total)


@compiled
def introduction_bytes(run: Run, seq: int, group: int, target: int, parts: int) -> int:
    """Return the size of the part that introduces a model version to a device."""
    vector, table = 4 * run.settings[0].dimensions, 4 * run.tops[group]
    tensors = _tensor(_VECTOR, _FOUR, _ZERO, vector) + _tensor(_BLOCKS, _FOUR, vector, table)
    tensors += _tensor(_BYTES, _FOUR, vector + table, table)
    return encoded(run, seq, group, _ZERO, target, _ONE, parts, tensors, vector + 2 * table)


@compiled
def full_bytes(run: Run, seq: int, group: int, layer: int) -> int:
    """Return the payload of an answer to report *seq* that sends all blocks of *layer*."""
    known = run.full_bytes[group, layer, digits(seq)]
    if known > 0:
        return int(known)
    target = run.layer_blocks[group, layer]
    parts, first, total = part_count(run, group, _ZERO, target), _ZERO, _ZERO
    for index in range(parts):
        end = part_end(run, group, first, target)
        total += part_bytes(run, seq, group, first, end, target, index + 1, parts)
        first = end
    run.full_bytes[group, layer, digits(seq)] = total
    return total


@compiled
def report_bytes(run: Run, device: Any) -> int:
    """Return the size of a device's budget report."""
    size = run.settings[0].report_bytes + digits(device.seq) + digits(device.requested)
    size += digits(run.users[device.user]) + digits(device.held)
    return int(size + (run.settings[0].version_bytes if device.is_known else 0))


@compiled
def quality_bytes(run: Run, device: Any) -> int:
    """Return the size of a device's quality message."""
    size = run.settings[0].quality_bytes + digits(device.layer) + digits(device.held)
    size += run.quality_text[device.user, device.layer]
    return int(size + (run.settings[0].version_bytes if device.is_known else 0))
