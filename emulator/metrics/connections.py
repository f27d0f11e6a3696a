"""Time for which devices were connected."""

import numpy as np

from emulator.metrics.row_index import Columns, IntArray, RowIndex, order_by_device


def connected_ns(connections: Columns, device: IntArray, start: IntArray, end: IntArray) -> IntArray:
    """Return how long each *device* was connected from *start* to *end*, in nanoseconds.

    Args:
        connections: the columns of the connection table; a device is not connected before its first row.
        device: of each span.
        start: when each span begins.
        end: when each span ends.
    """
    order = order_by_device(connections)
    rows = {name: connections[name][order] for name in ("device", "t_ns", "online")}
    online = rows["online"].astype(np.bool_)
    same = np.append(rows["device"][1:] == rows["device"][:-1], False)
    connected = np.where(same & online, np.diff(rows["t_ns"], append=0), 0)
    before = np.cumsum(connected) - connected
    index = RowIndex(rows["device"], rows["t_ns"])

    def until(t_ns: IntArray) -> IntArray:
        """Return the time connected up to *t_ns*, counted from one moment for all rows of a device."""
        row = index.last(device, t_ns)
        if not len(online):
            return np.zeros(len(device), dtype=np.int64)
        now = before[row] + np.where(online[row], t_ns - rows["t_ns"][row], 0)
        first = index.first(device, np.full(len(device), -1, dtype=np.int64))
        return np.where(row >= 0, now, np.where(first >= 0, before[first], 0))

    return until(end) - until(start)
