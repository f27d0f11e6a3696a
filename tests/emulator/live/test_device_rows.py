"""One device of a run under way: its rows are found in parts and in drafts, those of others are not."""

from pathlib import Path

import pytest

from devices.event_log import FleetLog
from devices.simulated.roster import DeviceRange
from emulator.live.device_rows import read_device_rows
from emulator.run_directory.event_log import EventLogWriter
from emulator.run_directory.event_parts import RangeWriter
from emulator.run_directory.layout import PARTS, SCENARIO
from tests.emulator.live.test_range_figures import logged_rows, packed
from tests.emulator.scenarios import TINY
from wire.errors import InputError

NAMES = {3: "phone-00003", 5: "phone-00005", 6: "phone-00006", 9: "phone-00009"}
TABLES = dict(zip(("quality", "update"), logged_rows(1, 40), strict=True))


def check_devices(run: Path) -> None:
    """Check that each device has the rows that were written for it, and that others have none."""
    for number, name in NAMES.items():
        found = read_device_rows(run, name)
        for table, rows in TABLES.items():
            own = [row for row in rows if row["device"] == number]
            assert len(found[table]["t_ns"]) == len(own) > 0
            for column in set(own[0]) - {"result"}:
                assert found[table][column].tolist() == [row[column] for row in own], column
    with pytest.raises(InputError, match=r"device\(='phone-7'\) is not one of the fleet, such as phone-0"):
        read_device_rows(run, "phone-7")


def test_a_device_is_found_in_the_part_of_its_range_once_that_is_done(tmp_path: Path) -> None:
    (tmp_path / SCENARIO).write_text(TINY)
    writer = RangeWriter(tmp_path / PARTS, DeviceRange(0, 30), wall=False)
    writer.add({name: packed(name, rows) for name, rows in TABLES.items()})
    with pytest.raises(InputError, match="devices 0 to 29 are simulated together, and are not done yet"):
        read_device_rows(tmp_path, NAMES[3])
    writer.close()
    check_devices(tmp_path)


def test_a_device_is_found_in_the_drafts_of_a_fleet_while_they_grow(tmp_path: Path) -> None:
    (tmp_path / SCENARIO).write_text(TINY)
    writers = [(EventLogWriter(tmp_path / f".shard-{rank}"), FleetLog()) for rank in range(2)]
    for name, rows in TABLES.items():
        table = packed(name, rows)
        for rank, (_, log) in enumerate(writers):
            log.tables[name].extend(table[table["device"] % 2 == rank])
    with pytest.raises(InputError, match=r"device\(='phone-00003'\) has logged nothing yet"):
        read_device_rows(tmp_path, NAMES[3])
    for writer, log in writers:
        writer.flush(log, at_least=1)
    check_devices(tmp_path)
    for writer, log in writers:
        writer.close(log)
