"""The rows of ``devices.parquet``: who each device is, and the quality of its user's whole table."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from cloud.blocks.store import BlockStore
from devices.recommender.quality import UserQuality
from devices.simulated.roster import DeviceSpec
from devices.timeline.timeline import Timeline
from emulator.metrics.device_table import build_device_table
from emulator.run_directory.manifest import CountedFile, FileEntry
from emulator.run_directory.run_tables import with_descriptions
from scenarios.catalogue.event_columns import DEVICE_COLUMNS, SAMPLE_COLUMNS, meanings_of

Qualities = Mapping[int, UserQuality]


def device_rows(
    devices: Sequence[DeviceSpec],
    store: BlockStore,
    versions: Sequence[Qualities],
    timeline: Timeline,
    sample: float | None,
) -> pa.Table:
    """Return one row per device: its properties, and the quality of the whole ranking for its first user.

    Columns that end in ``_by_version`` have a value for each model version, in the order of ``version``
    in the quality table.

    Args:
        devices: of a fleet, or of a range of it.
        store: the first model version.
        versions: the qualities of each user, for each model version.
        timeline: of the scenario.
        sample: the share of each group that is simulated; None: all devices.
    """
    full = {user: versions[0][user].full for user in {device.user for device in devices}}
    groups = store.groups
    table = build_device_table(devices, store, timeline, sample)
    columns = {
        "full_bytes": [groups[store.user_groups[device.user]].layers.bytes[-1] for device in devices],
        "full_ndcg_at_10": [full[device.user].ndcg_at_10 for device in devices],
        "full_recall_at_20": [full[device.user].recall_at_20 for device in devices],
        "full_hit_rate_at_10": [full[device.user].hit_rate_at_10 for device in devices],
        "user_group_by_version": [[of[device.user].user_group for of in versions] for device in devices],
        "full_bytes_by_version": [
            [of[device.user].layers.bytes[-1] for of in versions] for device in devices
        ],
        "full_ndcg_at_10_by_version": [
            [of[device.user].full.ndcg_at_10 for of in versions] for device in devices
        ],
    }
    for name, values in columns.items():
        table = table.append_column(name, [values])
    return with_descriptions(table, meanings_of({**DEVICE_COLUMNS, **SAMPLE_COLUMNS}))


def write_device_rows(tables: Iterable[pa.Table], path: Path) -> FileEntry:
    """Write the tables of consecutive ranges as one file, a row group each."""
    file, writer, rows = CountedFile(path), None, 0
    with file.closing():
        for table in tables:
            writer = writer or pq.ParquetWriter(file, table.schema, compression="snappy")
            writer.write_table(table)
            rows += table.num_rows
        assert writer is not None  # a fleet has a device
        writer.close()
    return file.entry(rows)
