"""The sums of a range of devices, from which every figure of a run is read once they are merged.

`measure` is pure: it needs the event tables of consecutive devices, and the scales of the run. Its sums are
merged in any grouping of neighbouring ranges, and the figures are the same to the last bit.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from emulator.metrics.device_sums import DeviceSums
from emulator.metrics.device_table import DeviceTable
from emulator.metrics.fault_impact import FaultImpact
from emulator.metrics.formulas import FORMULAS, all_formulas
from emulator.metrics.frame import Frame
from emulator.metrics.inputs import MetricInputs
from emulator.metrics.message_units import MessageUnits
from emulator.metrics.peaks import PEAKS, PeakSums, sum_traffic
from emulator.metrics.rollout_progress import EgressSums, RolloutSums
from emulator.metrics.row_index import Columns
from emulator.metrics.run_sums import RowSelection, RunSums
from emulator.metrics.sample_sums import SampleSums
from emulator.metrics.scaled_sums import measure_sample
from emulator.metrics.scales import Scales
from emulator.metrics.slices import ONLY_WHOLE, Slices
from emulator.metrics.sums import MetricSums
from emulator.metrics.timeline import RunTimeline
from scenarios.catalogue.metrics import METRICS
from scenarios.language.thresholds import Rule


def selections_of(rules: Iterable[Rule]) -> Sequence[RowSelection]:
    """Return the selections that *rules* are about."""
    selections = dict[RowSelection, None]()
    for rule in rules:
        if rule.of_summary:
            continue
        own = rule.metric.own
        filters = frozenset(rule.filters.items())
        selections[RowSelection(rule.metric.name, filters)] = None
        if rule.aggregation == "share":
            selections[RowSelection(rule.metric.name, shared_filters(filters, own))] = None
        if rule.base is not None:
            selections[RowSelection(f"{rule.base}_ndcg_at_10", filters)] = None
    return list(selections)


def shared_filters(filters: frozenset[tuple[str, str]], own: Iterable[str]) -> frozenset[tuple[str, str]]:
    """Return the filters of the total of which a rule takes a share: those of dimensions of all metrics.

    Without a filter by the metric's *own* dimensions the share is of the total of the run.
    """
    general = frozenset(pair for pair in filters if pair[0] not in set(own))
    return general if len(general) < len(filters) else frozenset()


def measure(
    tables: Mapping[str, Columns],
    devices: DeviceTable,
    timeline: RunTimeline,
    scales: Scales,
    selections: Sequence[RowSelection] = (),
) -> RunSums:
    """Return the sums of one range of devices.

    Args:
        tables: the columns of the event tables, as `DeviceTable.encode` returns them.
        devices: the devices of the range; a device's number is its index here. If they are a sample, the sums
            are those of the devices that they stand for.
        timeline: the stages, faults and actions, and when the run ended.
        scales: of the run.
        selections: rows that thresholds are about, see `selections_of`.
    """
    strata = devices.strata
    if strata is None:
        return _measure(tables, devices, timeline, scales, selections)

    def measure_part(part: Mapping[str, Columns]) -> RunSums:
        return _measure(part, devices, timeline, scales, selections)

    frame = Frame(devices, timeline, tables["quality"], Slices(scales, timeline))
    of_devices = DeviceSums(MetricInputs(frame, tables, 0), len(devices.names))
    scaled = measure_sample(tables, strata, measure_part)
    return replace(scaled, sample=SampleSums.from_devices(strata, of_devices))


def _measure(
    tables: Mapping[str, Columns],
    devices: DeviceTable,
    timeline: RunTimeline,
    scales: Scales,
    selections: Sequence[RowSelection],
) -> RunSums:
    """Return the sums of one range of devices, each of which stands for itself."""
    slices = Slices(scales, timeline)
    frame = Frame(devices, timeline, tables["quality"], slices)
    inputs = MetricInputs(frame, tables, 0)
    metrics = {
        name: formula(inputs).sums(frame, slices.layout(name))
        for name, formula in all_formulas(timeline.more_metrics)
    }
    by_device = slices.layout_by(
        name for name in slices.dimensions if METRICS["connects_peak_1s"].has_dimension(name)
    )
    traffic = {
        quantity: sum_traffic(inputs, quantity, by_device)
        for quantity in dict.fromkeys(quantity for quantity, _ in PEAKS.values())
    }
    unit_bytes = timeline.message_unit_bytes
    return RunSums(
        len(devices.names),
        metrics,
        traffic,
        _select(frame, tables, timeline.warmup_ns, selections),
        FaultImpact(frame, tables).sums(),
        RolloutSums.from_rows(tables["rollout"], scales.offered_ns),
        EgressSums.from_rows(tables["update"]),
        None if unit_bytes is None else MessageUnits.from_rows(tables, devices, unit_bytes),
    )


def measure_selections(
    tables: Mapping[str, Columns],
    devices: DeviceTable,
    timeline: RunTimeline,
    scales: Scales,
    selections: Sequence[RowSelection],
) -> RunSums:
    """Return only the sums of *selections*, of one range of devices, see `measure`."""

    def measure_part(part: Mapping[str, Columns]) -> RunSums:
        frame = Frame(devices, timeline, part["quality"], Slices(scales, timeline))
        return RunSums(len(devices.names), selected=_select(frame, part, timeline.warmup_ns, selections))

    if devices.strata is None:
        return measure_part(tables)
    return measure_sample(tables, devices.strata, measure_part)


def _select(
    frame: Frame, tables: Mapping[str, Columns], since_ns: int, selections: Sequence[RowSelection]
) -> dict[RowSelection, MetricSums]:
    inputs = MetricInputs(frame, tables, since_ns)
    selected: dict[RowSelection, MetricSums] = {}
    for selection in selections:
        metric = METRICS[selection.metric]
        codes = {
            dimension: _code(frame.slices.values(dimension, metric), value)
            for dimension, value in selection.filters
        }
        if selection.metric in PEAKS:
            quantity, seconds = PEAKS[selection.metric]
            selected[selection] = PeakSums(sum_traffic(inputs, quantity, ONLY_WHOLE, codes), seconds)
        else:
            aggregate = FORMULAS[selection.metric](inputs).select(frame, codes)
            selected[selection] = aggregate.sums(frame, ONLY_WHOLE)
    return selected


def _code(values: Sequence[str], value: str) -> int:
    return list(values).index(value) if value in values else -1
