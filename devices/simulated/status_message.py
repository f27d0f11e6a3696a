"""The message by which a device says whether it is connected."""

import functools

from devices.timeline.connectivity import ConnectivityCause
from wire.messages import Status, encode


@functools.cache
def status_message(online: bool, why: ConnectivityCause) -> tuple[Status, int]:
    """Return the message that says whether a device is connected, and its size."""
    status = Status(online=online, reason=why.name.lower().replace("_", " "))
    return status, len(encode(status))
