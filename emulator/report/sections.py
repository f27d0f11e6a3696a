"""The sections of a report on faults and actions, parts of the latency, pressure and peaks."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from emulator.report.page_parts import ReportCell, ReportRow, ReportSection, ReportTable, ReportText
from emulator.report.tables import NONE, formatted, share
from wire.units import approximate_bytes

SummaryDict = Mapping[str, Any]  # Any: JSON

_PARTS = ("wait", "uplink", "queue", "selection", "downlink", "apply")
_PERCENTILES = ("mean", "p50", "p90", "p95", "p99", "p99.9", "max")
_LEVELS = ("normal", "moderate", "low", "critical")
_MINUTE_S: Final = 60
_PEAKS = (
    ("messages to devices", "downlink_messages_peak", "count"),
    ("bytes to devices", "downlink_peak", "bytes"),
    ("messages from devices", "uplink_messages_peak", "count"),
    ("bytes from devices", "uplink_peak", "bytes"),
    ("connections made", "connects_peak", "count"),
)
_OF: Final = {"bytes to devices": "sent to them", "bytes from devices": "sent by them"}

_FAULTS = (
    "Look at the lowest quality, and at the time until all had recovered. A device has recovered when it is "
    "connected again and holds the best PEE for its budget, or the PEE that it requested. Quality is the "
    "mean NDCG@10 of all devices; it is back when it is at 95 % of the value before. Times are counted from "
    "the end of the fault or action. An action counts the messages of its devices that were cut off in that "
    "time without a fault."
)
_LATENCY = (
    "The same updates in parts: until the report was sent (wait), reached the cloud (uplink), was started "
    "(queue) and answered (selection), and until the answer was on the device (downlink) and in use "
    "(apply). The means add up to the mean of the latency; percentiles do not."
)
_PRESSURE = (
    "Device time at each level of memory pressure, and the number of changes from one level to another. "
    "The class of a device sets the free share of memory at which each level begins."
)
_PEAK_CAPTION = (
    "A broker and a cloud must be sized for these, not for the mean. Look for a busiest second far above the "
    "busiest minute: it is a burst, many devices that do the same at once. Bytes are those on the wire, with "
    "the framing of MQTT and TCP/IP; messages from devices are reports, and those about quality and "
    "connections."
)


def faults_section(summary: SummaryDict) -> ReportSection | None:
    """Return the section on faults and actions; None without any."""
    listed = [entry for key in ("faults", "actions") for entry in summary.get(key) or ()]
    if not listed:
        return None
    head = ["what", "from", "until", "messages", "devices", "recovered", "all recovered after",
            "quality before", "lowest", "back after"]  # fmt: skip
    never = sum(entry["whole_again_seconds"] is None for entry in listed)
    finding = (
        f"After {never} of {len(listed)} not all devices recovered."
        if never
        else "All devices recovered from what was planned."
    )
    return ReportSection(
        "faults", "Faults and actions", finding, _FAULTS,
        [
            ReportText([*map(_fault_sentence, listed)], listed=True),
            ReportTable("Faults and actions", head, [*map(_fault_row, listed)]),
        ],
    )  # fmt: skip


def _fault_sentence(entry: Mapping[str, Any]) -> str:  # Any: JSON
    start, end = (formatted(entry[key], "seconds") for key in ("start_seconds", "end_seconds"))
    span = f"at {start}" if start == end else f"from {start} until {end}"
    parts = [f"{entry['devices_affected']:,} devices were affected"]
    harmed = _harmed(entry)
    if harmed:
        parts.append(f"messages: {harmed}")
    before, lowest = entry["quality_before"], entry["quality_lowest"]
    if before is not None and lowest is not None:
        fell = f"fell from {before:.3f} to {lowest:.3f}" if lowest < before else f"stayed at {before:.3f}"
        parts.append(f"quality {fell}")
    again = entry["whole_again_seconds"]
    parts.append(
        f"{entry['devices_not_whole']:,} had not recovered by the end"
        if again is None
        else f"all had recovered {formatted(again, 'seconds')} after its end"
    )
    return f"{entry['type']} ({entry['at']}), {span}: {'; '.join(parts)}."


def _harmed(entry: Mapping[str, Any]) -> str:  # Any: JSON
    kinds = ("lost", "corrupted", "duplicated", "reordered", "cut_off", "refused")
    counts = {kind.replace("_", " "): entry[f"messages_{kind}"] for kind in kinds}
    messages = ", ".join(f"{count:,} {kind}" for kind, count in counts.items() if count)
    return f"{messages} ({formatted(entry['harmed_bytes'], 'bytes')})" if messages else ""


def _fault_row(entry: Mapping[str, Any]) -> ReportRow:  # Any: JSON
    again, missing = entry["whole_again_seconds"], entry["devices_not_whole"]
    return ReportRow(
        [
            f"{entry['type']} ({entry['at']})",
            formatted(entry["start_seconds"], "seconds"),
            formatted(entry["end_seconds"], "seconds"),
            _harmed(entry) or NONE,
            f"{entry['devices_affected']:,}",
            f"{entry['devices_recovered']:,}",
            ReportCell(f"never: {missing:,} devices", strong=True)
            if again is None
            else formatted(again, "seconds"),
            formatted(entry["quality_before"], "decimal"),
            formatted(entry["quality_lowest"], "decimal"),
            formatted(entry["quality_recovery_seconds"], "seconds"),
        ],
        "failed" if again is None else "",
    )


def latency_parts(summary: SummaryDict) -> Iterator[ReportText | ReportTable]:
    """Yield the table of the parts of the latency, and what it shows; nothing for a run without latencies."""
    names = [name for name in _PARTS if isinstance(summary.get(f"latency_{name}_seconds"), dict)]
    if not names:
        return
    rows = []
    for name in names:
        stats = summary[f"latency_{name}_seconds"]
        cells = [formatted(stats.get(key), "seconds") for key in _PERCENTILES]
        rows.append(ReportRow([name, formatted(stats.get("n"), "count"), *cells]))
    yield ReportText([_LATENCY], "Where the time went")
    yield ReportTable("Latency by part", ["part", "updates", *_PERCENTILES], rows)


def pressure_section(summary: SummaryDict) -> ReportSection | None:
    """Return the section on pressure: the time at each level, and the changes between levels."""
    times = summary.get("pressure_seconds_by_level")
    if not isinstance(times, dict):
        return None
    total = sum(seconds or 0.0 for seconds in times.values()) or 1.0
    shares = {level: (times.get(level) or 0.0) / total for level in _LEVELS}
    matrix = summary.get("pressure_transitions_by_level") or {}
    rows = [
        ReportRow(
            [
                level,
                formatted(times.get(level), "seconds"),
                share(shares[level]),
                *(
                    f"{matrix.get(level, {}).get(other, 0):,}" if other != level else NONE
                    for other in _LEVELS
                ),
            ]
        )
        for level in _LEVELS
    ]
    head = ["level", "device time", "share", *(f"to {level}" for level in _LEVELS)]
    finding = f"Memory was critical for {share(shares['critical'], 1)} of the device time."
    return ReportSection(
        "pressure", "Memory pressure", finding, _PRESSURE, [ReportTable("Memory pressure", head, rows)],
        folded=True,
    )  # fmt: skip


def peaks_section(summary: SummaryDict) -> ReportSection | None:
    """Return the section on the busiest minute and second; None for a run without peaks."""
    shown = [each for each in _PEAKS if summary.get(f"{each[1]}_1min") is not None]
    if not shown:
        return None
    totals = {name: _in_minute(summary, key, form) for name, key, form in shown}
    told = ", ".join(f"{total} {_OF.get(name, name)}" for name, total in totals.items())
    finding = f"In the busiest minute: {told}."
    rows = [
        ReportRow([name, totals[name], *(_rate(summary[f"{key}_{span}"], form) for span in ("1min", "1s"))])
        for name, key, form in shown
    ]
    head = ["what", "in the busiest minute", "per second, then", "in the busiest second"]
    return ReportSection(
        "peaks", "Peaks", finding, _PEAK_CAPTION, [ReportTable("Peaks", head, rows)], folded=True
    )


def _in_minute(summary: SummaryDict, key: str, form: str) -> str:
    total = summary[f"{key}_1min"] * _MINUTE_S
    return approximate_bytes(total) if form == "bytes" else f"{total:,.0f}"


def _rate(value: float, form: str) -> str:
    return approximate_bytes(value) if form == "bytes" else f"{value:,.4g}"


def list_sections(*sections: ReportSection | None) -> Sequence[ReportSection]:
    """Return those sections that a run has."""
    return [section for section in sections if section is not None]
