#!/usr/bin/env python3
"""Ranks all items with the parts of one answer: docs/protocol.md as a program, in Python without libraries.

    rank.py NOTICE PART...

NOTICE is the model notice (JSON), each PART an update part, in order. It prints an item and its score a line.
"""

import json
import math
import struct
import sys
import zlib

NUMBERS = {"U8": "B", "U16": "H", "U32": "I", "F32": "f"}
SIGNIFICANT = [round(4096 * 0.6 / 1.5**code) for code in range(16)]
BOUNDS = [round(4096 * 0.6 / 1.5 ** (code + 0.5)) for code in range(15)]
REFINED = [0, 1536, 1728, 1728, 1920]
NEIGHBOURS = {-1: 1440, 1: 320, -2: 128, 2: 96}


def read_part(payload):
    """Return the fields and the tensors of an update part; ValueError where it is damaged."""
    start = 8 + int.from_bytes(payload[:8], "little")
    head, data = payload[8:start], payload[start:]
    if zlib.crc32(head[:26] + b"00000000" + head[34:], zlib.crc32(data)) != int(head[26:34], 16):
        raise ValueError("the checksum is wrong")
    header = json.loads(head)
    fields = header.pop("__metadata__")
    tensors = {}
    for name, tensor in header.items():
        begin, end = tensor["data_offsets"]
        tensors[name] = struct.unpack(f"<{tensor['shape'][0]}{NUMBERS[tensor['dtype']]}", data[begin:end])
    return fields, tensors


class Bits:
    """Plain bits, most significant first."""

    def __init__(self, data):
        self.bits = (byte >> place & 1 for byte in data for place in range(7, -1, -1))

    def bit(self, chance):
        return next(self.bits)


class RangeDecoder:
    """A range coder's output: 32-bit words, big-endian, zeros behind them."""

    def __init__(self, data):
        padded = data + bytes(-len(data) % 4 + 8)
        self.words = iter(struct.unpack(f">{len(padded) // 4}I", padded))
        self.low, self.range = 0, 2**64 - 1
        self.point = next(self.words) << 32 | next(self.words)

    def symbol(self, chances):
        """Return the next of len(chances) symbols; chances are in 1/4096 and add up to 4096."""
        scale, free = self.range >> 24, 2**24 - len(chances)
        wanted = (self.point - self.low) % 2**64 // scale
        left = [sum(chances[:at]) * free // 4096 + at for at in range(len(chances))] + [2**24]
        found = max(at for at in range(len(chances)) if left[at] <= wanted)
        self.low = (self.low + scale * left[found]) % 2**64
        self.range = scale * (left[found + 1] - left[found])
        if self.range < 2**32:
            self.low, self.range = self.low << 32 & 2**64 - 1, self.range << 32
            self.point = self.point << 32 & 2**64 - 1 | next(self.words, 0)
        return found

    def bit(self, chance):
        return self.symbol([4096 - chance, chance])


def code_chances(known, rows):
    """Return the chances of the 16 codes of a column with so many numbers that are not 0."""
    if not known:
        return [256] * 16
    root = math.sqrt(known / rows)
    foreseen = sum(4096 * root / (1 + root) < bound for bound in BOUNDS)
    chances = [NEIGHBOURS.get(code - foreseen, 16) for code in range(16)]
    chances[foreseen] += 4096 - sum(chances)
    return chances


def bring_planes(cell, data, planes, coded):
    """Bring a cell, its q and its signs row by row, to so many planes."""
    q, negative, rows, columns = cell["q"], cell["negative"], cell["rows"], cell["columns"]
    reader = RangeDecoder(data) if coded else Bits(data)
    for _ in range(cell["planes"], planes):
        known = [sum(x > 0 for x in q[n::columns]) for n in range(columns)]
        active = [True] * columns
        if coded:
            active = [k < rows and reader.bit(3968 if k else 1024) == 1 for k in known]
        codes = [
            reader.symbol(code_chances(k, rows)) if a and coded else 0
            for k, a in zip(known, active, strict=True)
        ]
        before = list(q)
        for at, x in enumerate(before):
            n = at % columns
            said = x > 0 or active[n]
            q[at] = 2 * x + (said and reader.bit(REFINED[min(x, 4)] if x else SIGNIFICANT[codes[n]]))
        for at, x in enumerate(before):
            if x == 0 and q[at] == 1:
                negative[at] = reader.bit(2048) == 1
    cell["planes"] = planes


def decoded(cell, data, scale, plane, codec):
    """Return the numbers of a cell, row by row, after a block that brings it to *plane*."""
    count = cell["rows"] * cell["columns"]
    if codec in ("planes", "coded"):
        bring_planes(cell, data, plane + 1, codec == "coded")
        sizes = [x and (x + (0.40 if x == 1 else 0.45)) / 2 ** (plane + 1) for x in cell["q"]]
        return [-size if minus else size for size, minus in zip(sizes, cell["negative"], strict=True)]
    if codec == "int4":
        levels = [half - 8 for byte in data for half in (byte & 15, byte >> 4)][:count]
    else:
        levels = struct.unpack(f"<{count}{ {'fp32': 'f', 'fp16': 'e', 'int8': 'b'}[codec] }", data)
    return [scale * level for level in levels]


def read_list(data, size, left):
    """Return the *size* items of a list, of those in *left*, and the number of its bytes."""
    if size == len(left):
        return list(left), 0
    bits = [byte >> place & 1 for byte in data for place in range(7, -1, -1)]
    total, count, place, at, items = 4, 1, -1, 0, []
    for _ in range(size):
        k = next(k for k in range(64) if count << k >= total)
        end = bits.index(0, at)
        gap = (end - at) << k | sum(bits[end + 1 + low] << k - 1 - low for low in range(k))
        place, at = place + 1 + gap, end + 1 + k
        items.append(left[place])
        total, count = total + gap, count + 1
        if count == 16:
            total, count = total // 2, count // 2
    return items, -(-at // 8)


def places(geometry, m):
    """Return the places of the items of an item group in the order."""
    items, groups, ends = geometry["items"], geometry["item_groups"], geometry.get("item_group_ends")
    if ends:
        return range(ends[m - 1] if m else 0, ends[m])
    return range(m * items // groups, (m + 1) * items // groups)


def rank(geometry, user, blocks):
    """Return (item, score) of the items that have a score, the best first; *blocks* are (id, data, scale)."""
    items, dim, width, planes = (geometry[key] for key in ("items", "dim", "slice_width", "planes"))
    slices, codec = -(-dim // width), geometry["codec"]
    cells, values, groups, left = {}, {}, {}, list(range(items))
    for block, data, scale in blocks:
        cell_number, plane = divmod(block, planes)
        m, n = divmod(cell_number, slices)
        if geometry.get("order") == "own" and m not in groups:
            groups[m], begin = read_list(data, len(places(geometry, m)), left)
            left, data = [item for item in left if item not in groups[m]], data[begin:]
        rows = groups.get(m, places(geometry, m))
        columns = range(n * width, min((n + 1) * width, dim))
        count = len(rows) * len(columns)
        empty = {
            "rows": len(rows),
            "columns": len(columns),
            "planes": 0,
            "q": [0] * count,
            "negative": [False] * count,
        }
        numbers = decoded(cells.setdefault(cell_number, empty), data, scale, plane, codec)
        values.update(zip([(i, c) for i in rows for c in columns], numbers, strict=True))
    scores = dict.fromkeys(range(items), 0.0) if geometry.get("unheld") == "zero" and blocks else {}
    for i in {i for i, _ in values}:
        held = [c for c in range(dim) if (i, c) in values]
        if geometry["score"] == "tiled":
            users, own = [0.0] * width, [0.0] * width
            for c in range(dim):
                users[c % width] += user[c]
                own[c % width] += values.get((i, c), 0.0)
            scores[i] = sum(map(float.__mul__, users, own)) * slices / len({c // width for c in held})
        else:
            scores[i] = sum(user[c] * values[i, c] for c in held)
    return sorted(scores.items(), key=lambda each: (-each[1], each[0]))


def block_bytes(geometry, block):
    """Return the bytes of a block in `data`, for the codecs whose blocks have no sizes of their own."""
    slices = -(-geometry["dim"] // geometry["slice_width"])
    m, n = divmod(block, slices)
    groups, width = geometry["item_groups"], geometry["slice_width"]
    rows = (m + 1) * geometry["items"] // groups - m * geometry["items"] // groups
    count = rows * (min((n + 1) * width, geometry["dim"]) - n * width)
    return {"fp32": 4 * count, "fp16": 2 * count, "int8": count, "int4": -(-count // 2)}[geometry["codec"]]


def main(notice, *paths):
    with open(notice, "rb") as file:
        geometry = json.load(file)["geometry"]
    user, blocks = None, []
    for path in paths:
        with open(path, "rb") as file:
            _, tensors = read_part(file.read())
        user = tensors.get("user_vector", user)
        ids, data, at = tensors.get("ids", ()), bytes(tensors.get("data", ())), 0
        sizes = tensors.get("sizes") or [block_bytes(geometry, block) for block in ids]
        scales = tensors.get("scales") or [1.0] * len(ids)
        for block, size, scale in zip(ids, sizes, scales, strict=True):
            blocks.append((block, data[at : at + size], scale))
            at += size
    for item, score in rank(geometry, user, blocks):
        print(item, score)


if __name__ == "__main__":
    main(*sys.argv[1:])
