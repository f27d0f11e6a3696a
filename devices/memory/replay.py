"""The keys of a memory that replays a recorded trace; `devices.traces` reads the file."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Literal

import msgspec

from wire.units import Duration

Assign = Literal["sample", "by_order", "sample_without_replacement"]
WithoutData = Literal["refuse", "leave_out"]
Scale = Annotated[float, msgspec.Meta(ge=0.001, le=1000.0)]


class Replay(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="trace", tag_field="type"
):
    """Replays a recorded trace: each device plays one of its series, see docs/traces.md."""

    file: str
    """CSV or Parquet with the columns `t_s` (seconds from the start), the one named below, and `device_id`
    where it holds several series; looked up beside the scenario file, then in the working folder."""
    column: str = "mem_available_bytes"
    """The column with the free memory in bytes."""
    assign: Assign = "sample"
    """The series that a device plays: one drawn for it; the first for the first device, and so on, from the
    start again after the last; or one drawn that no other device of the group plays."""
    on_end: Literal["wrap", "hold"] = "wrap"
    """At the end of a series: start it again, or keep its last value."""
    scale: Scale = 1.0
    """Time is stretched by this factor: 2 makes the recording last twice as long."""
    shift: Duration = Duration(0)
    """Each device starts so far into its series, at most: uniform from 0 to this, drawn per device."""

    without_data: WithoutData = "refuse"
    """Devices of the trace that have no value in the column: refuse the trace, or leave them out, and say how
    many."""

    def __post_init__(self) -> None:
        check_file(self.file)

    def periods(self) -> Iterator[Mapping[str, int]]:
        """Yield nothing: the recording decides."""
        yield from ()

    def limits(self) -> Mapping[str, int]:
        """Return no limit: a recording may come from a larger device."""
        return {}


def check_file(file: str) -> None:
    """Check that *file* has the name of a file format that we read.

    Raises:
        ValueError: it has another name.
    """
    if not file.endswith((".csv", ".parquet")):
        raise ValueError(f"file(={file!r}) must end in .csv or .parquet")
