"""The accounts of faults and actions and of a rollout as SQL, written from docs/metrics.md."""

from collections.abc import Sequence
from typing import Any

from tests.second_opinion.plan import Plan
from tests.second_opinion.tables import FOREVER, Span, Tables

Account = dict[str, Any]  # Any: JSON

HARMS = {
    "messages_lost": ("report_lost", "part_lost"),
    "messages_corrupted": ("report_corrupted", "part_corrupted"),
    "messages_duplicated": ("report_duplicated", "part_duplicated"),
    "messages_reordered": ("part_reordered",),
    "messages_cut_off": ("report_cut_off", "part_cut_off"),
    "messages_refused": ("report_refused",),
}
NS = 1_000_000_000


def accounts_of(tables: Tables, plan: Plan) -> dict[str, list[Account]]:
    """Return the accounts of all faults and all actions."""
    con = tables.con
    con.execute(
        """CREATE TABLE whole AS SELECT n, t_ns, k, online AND layer = best_layer AS whole FROM s;
           CREATE TABLE mean AS
           SELECT second * 1000000000 AS t,
                  sum(sum(d)) OVER (ORDER BY second) / sum(sum(first)) OVER (ORDER BY second) AS mean
           FROM (SELECT t_ns // 1000000000 AS second,
                        ndcg_at_10 - coalesce(lag(ndcg_at_10) OVER (PARTITION BY n ORDER BY k), 0) AS d,
                        CASE WHEN k = 1 THEN 1 ELSE 0 END AS first FROM s) GROUP BY second"""
    )
    return {
        "faults": [_fault(tables, plan, place, span) for place, span in enumerate(plan.faults)],
        "actions": [_action(tables, place, span) for place, span in enumerate(plan.actions)],
    }


def _fault(tables: Tables, plan: Plan, place: int, span: Span) -> Account:
    hurt = [f"SELECT n, t_ns AS t FROM raw_fault WHERE place = {place}"]
    ours = f"n IN (SELECT n FROM dev WHERE list_contains(faults, {place}))"
    under_way = "{begin} < {end_ns} AND {end} > {start_ns}".format
    ends = {"start_ns": span.start_ns, "end_ns": span.end_ns}
    if span.name in ("latency", "bandwidth"):  # whoever had an exchange under way on its links
        hurt.append(f"SELECT n, greatest(sent_ns, {span.start_ns}) FROM raw_update "
                    f"WHERE {under_way(begin='sent_ns', end='t_ns', **ends)} AND {ours}")  # fmt: skip
    if span.name in ("cloud_down", "cloud_slow"):  # or in the cloud
        hurt.append(f"SELECT n, greatest(arrived_ns, {span.start_ns}) FROM raw_update WHERE arrived_ns >= 0 "
                    f"AND {under_way(begin='arrived_ns', end='left_ns', **ends)}")  # fmt: skip
    if span.name == "broker_down":  # whom it cut off, or kept away
        later = [other.start_ns for other in plan.faults
                 if other.name == "broker_down" and other.start_ns > span.start_ns]  # fmt: skip
        hurt.append(f"SELECT n, {span.start_ns} FROM raw_connection WHERE why = 'broker_down' "
                    f"AND t_ns >= {span.start_ns} AND t_ns < {min(later, default=FOREVER)}")  # fmt: skip
    return _account(tables, span, " UNION ALL ".join(hurt), f"place = {place}")


def _action(tables: Tables, place: int, span: Span) -> Account:
    if span.name == "new_users":
        hurt = (
            f"SELECT n, t FROM handed JOIN dev USING (n) WHERE list_contains(actions, {place}) "
            f"AND t BETWEEN {span.start_ns} AND {span.end_ns}"
        )
    else:
        moment = span.start_ns if span.name in ("disconnect", "network") else span.end_ns
        hurt = f"SELECT n, {moment} AS t FROM dev WHERE list_contains(actions, {place})"
    there = (
        f"SELECT n, t FROM ({hurt}) h WHERE t < {tables.stop_ns} "
        "AND EXISTS (FROM s WHERE s.n = h.n AND s.t_ns <= h.t)"
    )
    rows = f"place = -1 AND t_ns BETWEEN {span.start_ns} AND {span.end_ns} AND n IN (SELECT n FROM ({there}))"
    return _account(tables, span, there, rows)


def _account(tables: Tables, span: Span, hurt: str, rows: str) -> Account:
    """Return the account of what hurt devices at some times and harmed some rows of the fault table."""
    harmed = {
        name: tables.number(f"SELECT count(*) FROM raw_fault WHERE {rows} AND list_contains({kinds!r}, harm)")
        for name, kinds in ((name, list(kinds)) for name, kinds in HARMS.items())
    }
    affected, recovered, last = tables.rows(
        f"""WITH h AS (SELECT n, max(t) AS t FROM ({hurt}) GROUP BY n),
            struck AS (SELECT h.n, h.t, coalesce(
                (SELECT arg_max(whole, k) FROM whole w WHERE w.n = h.n AND w.t_ns <= h.t), false) AS now,
                (SELECT min(t_ns) FROM whole w WHERE w.n = h.n AND w.t_ns >= h.t AND whole) AS best,
                (SELECT min(t_ns) FROM raw_update u WHERE u.n = h.n AND u.t_ns >= h.t
                 AND result IN ('applied', 'confirmed')) AS served FROM h),
            since AS (SELECT CASE WHEN now THEN t ELSE least(best, served) END AS t FROM struck)
            SELECT count(*), count(t), max(t) FROM since"""
    )[0]
    again = None if recovered < affected else max((last or 0) - span.end_ns, 0) / NS
    return {
        "type": span.name,
        "at": span.at,
        "start_seconds": span.start_ns / NS,
        "end_seconds": span.end_ns / NS,
        **harmed,
        "harmed_bytes": tables.number(f"SELECT coalesce(sum(bytes), 0) FROM raw_fault WHERE {rows}"),
        "devices_affected": affected,
        "devices_recovered": recovered,
        "devices_not_whole": affected - recovered,
        "whole_again_seconds": again,
        **_quality(tables, span),
    }


def _quality(tables: Tables, span: Span) -> Account:
    """Return the fleet's mean NDCG@10 right before, at its lowest, and when it was at 95 % of that again."""
    none = dict.fromkeys(("quality_before", "quality_lowest", "quality_recovery_seconds"))
    before = tables.rows(
        f"SELECT t, mean FROM mean WHERE t + {NS} <= {span.start_ns} ORDER BY t DESC LIMIT 1"
    )
    if not before or span.start_ns >= tables.stop_ns:
        return none
    ((since, quality),) = before
    back = tables.number(
        f"""SELECT min(t) FROM mean WHERE t <= {tables.stop_ns} AND mean >= 0.95::DOUBLE * {quality!r}::DOUBLE
            AND t >= (SELECT max(t) FROM mean WHERE t + {NS} <= {span.end_ns})"""
    )
    until = FOREVER if back is None else back
    return {
        "quality_before": quality,
        "quality_lowest": tables.number(f"SELECT min(mean) FROM mean WHERE t BETWEEN {since} AND {until}"),
        "quality_recovery_seconds": None if back is None else max(back - span.end_ns, 0) / NS,
    }


def rollout_of(tables: Tables) -> list[Account]:
    """Return how each group of the rollout fared."""
    groups = [group for (group,) in tables.rows('SELECT DISTINCT "group" AS g FROM raw_rollout ORDER BY g')]
    return [_group(tables, group) for group in groups]


def _group(tables: Tables, group: int) -> Account:
    def times(step: str) -> Sequence[int]:
        found = f"""SELECT t_ns FROM raw_rollout WHERE "group" = {group} AND step = '{step}' ORDER BY t_ns"""
        return [t for (t,) in tables.rows(found)]

    steps = {step: times(step) for step in ("offered", "updated", "failed", "withdrawn")}
    began = steps["offered"][0] if steps["offered"] else None
    took = [(t - (began or 0)) / NS for t in steps["updated"]]
    middles = [float(tables.number(f"SELECT middle({t - (began or 0)})")) / NS for t in steps["updated"]]

    def nearest(percent: int) -> float | None:
        rank = max(-(-percent * len(took) // 100), 1)
        if rank >= len(took):
            return max(took, default=None)
        return min(max(middles[rank - 1], took[0]), took[-1])

    return {
        "group": group,
        "offered_at_seconds": None if began is None else began / NS,
        **{step: len(found) for step, found in steps.items()},
        "updated_share": len(took) / len(steps["offered"]) if steps["offered"] else None,
        "update_seconds": {**{f"p{q}": nearest(q) for q in (50, 95, 100)}, "max": max(took, default=None)},
    }
