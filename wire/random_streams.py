"""Random streams: one seed per run, one named stream per consumer.

A stream depends only on the seed and its own name. So a new device, another number of shards or another
order of events changes no other device's draws.
"""

import hashlib

import numpy as np


def stream(seed: int, *name: str | int) -> np.random.Generator:
    """Return the random stream called *name* of the run with *seed*.

    The name is hashed to 128 bits, so that the names of a million devices do not collide.
    """
    digest = _digest(*name)
    key = tuple(int.from_bytes(digest[start : start + 4], "little") for start in range(0, 16, 4))
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=key)))


def draw(seed: int, *name: str | int) -> float:
    """Return one number from 0 to below 1, called *name*; cheaper than a stream."""
    return (int.from_bytes(_digest(seed, *name)[:8], "little") >> 11) * 2.0**-53


def _digest(*name: str | int) -> bytes:
    return hashlib.blake2b("\x1f".join(map(str, name)).encode(), digest_size=16).digest()
