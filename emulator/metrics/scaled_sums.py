"""Sums of a sample scaled to the fleet: each device of the sample stands for several.

Counts, sums and times are multiplied and rounded to their smallest unit. The least and the greatest value,
the longest time and the times at which all devices do the same are those of the sample. A peak is scaled:
it is too high where few devices of the sample make it, since those that they stand for do not all coincide.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction

import numpy as np

from emulator.metrics.fault_impact import ImpactSums, SpanSums
from emulator.metrics.histogram import Histogram
from emulator.metrics.peaks import PeakSums, TrafficSums
from emulator.metrics.quality_recovery import QualitySums
from emulator.metrics.rollout_progress import EgressSums, GroupProgress, RolloutSums
from emulator.metrics.row_index import Columns, IntArray
from emulator.metrics.run_sums import RunSums, merge_sums
from emulator.metrics.seconds import Pages
from emulator.metrics.strata import Strata
from emulator.metrics.sums import (
    Chunk,
    CounterSums,
    LevelSums,
    MetricSums,
    RatioParts,
    ScaledSums,
    TimeSums,
    TrendSums,
)


def measure_sample(
    tables: Mapping[str, Columns], strata: Strata, measure: Callable[[Mapping[str, Columns]], RunSums]
) -> RunSums:
    """Return the sums of the devices that those of a range stand for.

    Args:
        tables: the columns of the event tables of the range.
        strata: of the range.
        measure: returns the sums of a part of the rows.
    """
    parts = []
    for weight, members in strata.weights().items():
        own = np.zeros(len(strata.group), dtype=np.bool_)
        own[members] = True
        part = {
            name: {column: values[own[columns["device"]]] for column, values in columns.items()}
            for name, columns in tables.items()
        }
        parts.append(replace(scale_sums(measure(part), weight), devices=len(members)))
    return merge_sums(parts)


def scale_sums(sums: RunSums, weight: Fraction) -> RunSums:
    """Return the sums of as many devices as those of *sums* stand for, *weight* each.

    The number of devices stays that of the sample.
    """
    return replace(
        sums,
        metrics={name: _metric(each, weight) for name, each in sums.metrics.items()},
        traffic={name: _traffic(each, weight) for name, each in sums.traffic.items()},
        selected={name: _metric(each, weight) for name, each in sums.selected.items()},
        impact=sums.impact and _impact(sums.impact, weight),
        rollout=_rollout(sums.rollout, weight),
        message_units=sums.message_units and sums.message_units.scaled(weight),
        egress=EgressSums(*_times((sums.egress.all_bytes, sums.egress.shared_bytes), weight)),
    )


def _metric(sums: MetricSums, weight: Fraction) -> MetricSums:
    match sums:
        case CounterSums():
            return CounterSums(_times(sums.totals, weight))
        case LevelSums():
            return replace(sums, weighted=_sum(sums.weighted, weight), held=_sum(sums.held, weight))
        case RatioParts():
            return RatioParts(_sum(sums.above, weight), _sum(sums.below, weight))
        case TimeSums():
            return TimeSums(_sum(sums.held, weight), _sum(sums.all, weight))
        case TrendSums():
            return replace(
                sums,
                count=_times(sums.count, weight),
                sum=_times(sums.sum, weight),
                chunks=[_chunk(chunk, weight) for chunk in sums.chunks],
            )
        case PeakSums():
            return replace(sums, traffic=_traffic(sums.traffic, weight))
    return sums


def _times(numbers: Iterable[int], weight: Fraction) -> list[int]:
    return [round(number * weight) for number in numbers]


def _sum(sums: ScaledSums, weight: Fraction) -> ScaledSums:
    return replace(sums, sums=_times(sums.sums, weight))


def _counts(counts: IntArray, weight: Fraction) -> IntArray:
    return np.asarray(np.rint(counts * float(weight)), dtype=np.int64)


def _chunk(chunk: Chunk, weight: Fraction) -> Chunk:
    return chunk[0], _counts(chunk[1], weight)


def _traffic(traffic: TrafficSums, weight: Fraction) -> TrafficSums:
    return TrafficSums([_pages(pages, weight) for pages in traffic.pages])


def _pages(pages: Pages, weight: Fraction) -> Pages:
    return {hour: _counts(page, weight) for hour, page in pages.items()}


def _impact(impact: ImpactSums, weight: Fraction) -> ImpactSums:
    quality = QualitySums(_pages(impact.quality.quality, weight), _pages(impact.quality.started, weight))
    return ImpactSums(_spans(impact.faults, weight), _spans(impact.actions, weight), quality)


def _spans(spans: Sequence[SpanSums], weight: Fraction) -> list[SpanSums]:
    return [
        replace(
            span,
            messages=_by_name(span.messages, weight),
            harmed_bytes=round(span.harmed_bytes * weight),
            affected=round(span.affected * weight),
            recovered=round(span.recovered * weight),
        )
        for span in spans
    ]


def _by_name(counts: Mapping[str, int], weight: Fraction) -> dict[str, int]:
    return dict(zip(counts, _times(counts.values(), weight), strict=True))


def _rollout(rollout: RolloutSums, weight: Fraction) -> RolloutSums:
    return RolloutSums(
        {
            number: GroupProgress(
                _by_name(group.steps, weight), group.offered_ns, _histogram(group.took, weight)
            )
            for number, group in rollout.groups.items()
        }
    )


def _histogram(values: Histogram, weight: Fraction) -> Histogram:
    counts = dict(zip(values.counts, _times(values.counts.values(), weight), strict=True))
    return replace(values, counts=counts, sum=round(values.sum * weight))
