"""Families of metrics: buckets, histograms without times of creation, and names of an earlier version."""

from collections.abc import Iterable, Mapping

from prometheus_client import Histogram
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.samples import Sample

BUCKETS_S = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Upper bounds of the histograms of times, in seconds."""


def histogram_families(*histograms: Histogram) -> Iterable[Metric]:
    """Yield the families of *histograms*, without the times when they were created."""
    for histogram in histograms:
        for metric in histogram.collect():
            metric.samples = [sample for sample in metric.samples if not sample.name.endswith("_created")]
            yield metric


def counted_histogram(
    name: str, help_text: str, counts: Mapping[float, int], total: float, bounds: Iterable[float] = BUCKETS_S
) -> Metric:
    """Return a histogram from values that were counted elsewhere.

    Args:
        name: the name of the family.
        help_text: its help.
        counts: how often each value came.
        total: the sum of all values.
        bounds: the upper bounds of the buckets, rising.
    """
    buckets = [
        (str(bound), sum(count for value, count in counts.items() if value <= bound)) for bound in bounds
    ]
    buckets.append(("+Inf", sum(counts.values())))
    return HistogramMetricFamily(name, help_text, buckets=buckets, sum_value=total)


def with_old_names(families: Iterable[Metric], old_names: Mapping[str, str]) -> Iterable[Metric]:
    """Yield *families*, and each that *old_names* has by its new name a second time, under its old one."""
    for family in families:
        yield family
        if (old := old_names.get(family.name)) is not None:
            copy = Metric(old, f"Old name of {family.name}: it goes with the next version", family.type)
            copy.samples = [
                _renamed(sample, old + sample.name[len(family.name) :]) for sample in family.samples
            ]
            yield copy


def _renamed(sample: Sample, name: str) -> Sample:
    return sample._replace(name=name)
