"""All figures of a run, in the order of its report."""

from collections.abc import Mapping, Sequence

from emulator.report import figures
from emulator.report.distribution_figures import latency_figure, quality_by_budget_figure
from emulator.report.event_marks import mark_events
from emulator.report.figure_sums import FigureSums
from emulator.report.fleet_views import FleetViews
from emulator.report.rollout_section import is_rollout, rollout_figure


def report_figures(
    views: FleetViews,
    sums: FigureSums,
    summary: Mapping[str, object],
    titles: Mapping[str, Sequence[str]],
) -> tuple[figures.ReportFigure, ...]:
    """Return the figures of a run from the sums of its devices.

    Args:
        views: the sets of devices that a figure shows.
        sums: of all devices.
        summary: of the run.
        titles: of items that are recommended to the users of example devices.
    """
    stop_s = summary["simulated_seconds"]
    assert isinstance(stop_s, int | float)
    series = sums.states.series(views)
    over_time = (
        figures.budget_figure(series, stop_s),
        figures.quality_figure(series, stop_s),
        figures.device_figure(sums.examples.chosen(), stop_s, titles),
        figures.traffic_figure(sums.updates.traffic_series(), stop_s),
    )
    versions = sums.versions
    rollouts = (rollout_figure(versions, sums.updates, stop_s),) if is_rollout(versions) else ()
    return (
        *(mark_events(figure, summary) for figure in over_time),
        latency_figure(sums.updates.distributions(views)),
        quality_by_budget_figure(sums.by_budget.curves(views)),
        *(mark_events(figure, summary) for figure in rollouts),
    )
