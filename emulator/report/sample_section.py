"""The section of a report on the sample of the fleet that was simulated."""

from collections.abc import Mapping

from emulator.report.page_parts import ReportCell, ReportRow, ReportSection, ReportTable
from emulator.report.tables import NONE, share
from scenarios.catalogue.metrics import METRICS, Kind, Unit
from scenarios.catalogue.summary_keys import ESTIMATED
from wire.units import approximate_bytes

_CAPTION = (
    "Counts, bytes and times of this page's tables are scaled from the sample to the fleet; the charts show "
    "the devices of the sample. The intervals hold the figures that a run of the whole fleet would have, all "
    "together with 95 %."
)
_UNKNOWN = "too few devices of the sample have a value"


def sample_section(summary: Mapping[str, object]) -> ReportSection | None:
    """Return the section with the intervals; None if the whole fleet was simulated."""
    intervals = summary.get("intervals")
    if not isinstance(intervals, dict):
        return None
    size, part = summary.get("sampled_devices"), summary.get("sample_share")
    assert isinstance(size, int)
    assert isinstance(part, int | float)
    head = ["figure", "fleet", "from", "to", "half width"]
    rows = [_row(name, summary, intervals.get(name)) for name in ESTIMATED if name in intervals]
    finding = f"{size:,} devices, {share(part, 1)} of each group, were simulated."
    return ReportSection("sample", "Sample", finding, _CAPTION, [ReportTable("Intervals", head, rows)])


def _row(name: str, summary: Mapping[str, object], interval: object) -> ReportRow:
    metric = METRICS[ESTIMATED[name]]
    value = summary.get(metric.name)
    if metric.kind is Kind.TREND and isinstance(value, dict):
        value = value.get("mean")
    number = value if isinstance(value, int | float) else None
    label = ReportCell(name, code=True)
    if not isinstance(interval, dict) or number is None:
        return ReportRow([label, _shown(number, metric.unit), _UNKNOWN, NONE, NONE])
    low, high = interval["low"], interval["high"]
    reach = max(high - number, number - low)
    return ReportRow(
        [
            label,
            *(_shown(each, metric.unit) for each in (number, low, high)),
            share(reach / abs(number), 1) if number else NONE,
        ]
    )


def _shown(number: float | None, unit: Unit) -> str:
    if number is None:
        return NONE
    if unit is Unit.BYTES:
        return approximate_bytes(number)
    if unit is Unit.SHARE:
        return f"{number:.4f}"
    return f"{number:,.3g} s" if unit is Unit.SECONDS else f"{number:,.0f}"
