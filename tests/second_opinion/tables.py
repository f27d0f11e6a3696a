"""A run directory as tables of DuckDB, with what each row belongs to; written from docs/metrics.md."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from emulator.run_directory.event_parts import part_schema

Row = tuple[Any, ...]  # Any: of whatever type a column has
EVENTS = ("budget", "update", "quality", "connection", "fault", "rollout", "interaction")
FOREVER = 2**62


@dataclass(frozen=True)
class Span:
    """A stage, or a fault or an action: its name or type, when it is, and when it ends."""

    name: str
    at: str
    start_ns: int
    end_ns: int


def quoted(name: str) -> str:
    """Return *name* as SQL writes a column."""
    return f'"{name}"'


def moments_of(table: str) -> str:
    """Return the moments of an exchange as SQL, from spans: each from the last one before that happened."""
    if table != "update":
        return ""
    columns, before = [], "e.t_ns - coalesce(changed_span_ns, e.t_ns)"
    columns.append("coalesce(e.t_ns - changed_span_ns, -1) AS changed_ns")
    for name in ("sent", "arrived", "begun", "left", "answered", "received", "applied"):
        columns.append(f"coalesce({before} + {name}_span_ns, -1) AS {name}_ns")
        before += f" + coalesce({name}_span_ns, 0)"
    return ", " + ", ".join(columns)


class Tables:
    """The tables of a run.

    ``u``, ``b``, ``c``, ``f``, ``q``, ``i``: updates, budget changes, connections, harm, quality, visits and
    exchanges about them. ``k``: updates by
    kind of bytes. ``m``: messages of devices. ``s``: states, with when they begin and end; ``p``: states cut
    where a stage begins or the device moves to another network. ``x``: what is one value for several states.
    All have the device's number ``n``, their moment ``t``, and a column for each dimension. ``u_by`` and so
    on has every row once for each ``dimension`` with its ``value`` in it, and once for the dimension ``all``.

    Args:
        folder: the run directory.
        stages: of the scenario.
        stop_ns: when the run ended.
        since_ns: what was before does not count.
    """

    def __init__(self, folder: Path, stages: Sequence[Span], stop_ns: int, since_ns: int = 0) -> None:
        self.con = duckdb.connect(config={"threads": 1})
        self.stop_ns = stop_ns
        self.since_ns = since_ns
        self._buckets()
        self._folder = folder
        self._devices()
        self._events()
        self._stages(stages)
        self.labels = [each for (each,) in self.rows(
            "SELECT DISTINCT unnest(map_keys(labels)) AS k FROM dev ORDER BY k")]  # fmt: skip
        self.dimensions = [
            "group", *(f"label.{key}" for key in self.labels), "node", "network", "user_group",
            *(["stage"] if stages else []), "pressure", "budget_decile", "budget_range",
        ]  # fmt: skip
        self._states()
        self._ranges()
        self._pieces()
        self._rows()

    def rows(self, sql: str) -> list[Row]:
        """Return what *sql* finds."""
        return self.con.execute(sql).fetchall()

    def number(self, sql: str) -> Any:  # Any: of whatever type
        """Return the one number that *sql* finds."""
        ((found,),) = self.rows(sql)
        return found

    def _buckets(self) -> None:
        """Buckets of percentiles: their least value, and their middle."""
        self.con.execute(
            """CREATE MACRO width(v) AS CAST(2 ** (length(bin(CAST(v AS BIGINT))) - 11) AS BIGINT);
               CREATE MACRO bucket(v) AS CASE WHEN v < 2048 THEN v ELSE v // width(v) * width(v) END;
               CREATE MACRO class(v) AS CASE WHEN v < 65536 THEN v
               ELSE v // (width(v) // 32) * (width(v) // 32) END;
               CREATE MACRO middle(v) AS
               CASE WHEN v < 2048 THEN v ELSE bucket(v) + (width(v) - 1) / 2.0::DOUBLE END;
               CREATE MACRO shown(l, rank) AS CASE WHEN rank = len(l) THEN l[-1]
               ELSE least(greatest(middle(l[rank]), l[1]), l[-1]) END"""
        )

    def _make(self, name: str, sql: str) -> None:
        self.con.execute(f"CREATE TABLE {name} AS {sql}")

    def _devices(self) -> None:
        path = self._folder / "devices.parquet"
        self._make("dev", f"SELECT file_row_number AS n, * EXCLUDE (file_row_number) "
                          f"FROM read_parquet('{path}', file_row_number = true)")  # fmt: skip
        for name, times, values in (
            ("moved", "network_ns", "networks"), ("handed", "new_user_ns", "new_user_groups"),
        ):  # fmt: skip
            self._make(
                name,
                f"""SELECT n, t, arg_max(v, place) AS v FROM (
                    SELECT n, unnest({times}) AS t, unnest({values}) AS v,
                           unnest(range(len({times}))) AS place FROM dev) GROUP BY n, t""",
            )

    def _events(self) -> None:
        for name in EVENTS:
            parts = [str(path) for path in sorted((self._folder / "events" / name).glob("*.parquet"))]
            if not parts:  # a table without rows has no file
                self.con.register("empty", part_schema(name, wall=False).empty_table())
            source = f"read_parquet({parts})" if parts else "empty"
            self._make(
                f"raw_{name}",
                f"SELECT dev.n, e.* {moments_of(name)} FROM {source} e JOIN dev ON dev.n = e.device",
            )

    def _stages(self, stages: Sequence[Span]) -> None:
        """The last stage lasts until everything has ended."""
        self.con.execute("CREATE TABLE stage (name VARCHAR, a BIGINT, b BIGINT)")
        for stage in stages:
            end_ns = FOREVER if stage is stages[-1] else stage.end_ns
            self.con.execute("INSERT INTO stage VALUES (?, ?, ?)", [stage.name, stage.start_ns, end_ns])

    def _states(self) -> None:
        """A state holds until the device's next one, or the stop time."""
        stop = self.stop_ns
        self._make(
            "s0",
            f"""SELECT *, least(t_ns, {stop}) AS a,
                       coalesce(lead(least(t_ns, {stop})) OVER w, {stop}) AS e,
                       row_number() OVER w AS k,
                       lag(pressure) OVER w AS pressure_before,
                       max(layer > 0) OVER (w ROWS UNBOUNDED PRECEDING) AS after_first,
                       CASE WHEN full_ndcg_at_10 > 0 THEN ndcg_at_10 / full_ndcg_at_10 ELSE 0 END AS q
                FROM raw_quality WINDOW w AS (PARTITION BY n ORDER BY t_ns, "order")""",
        )

    def _ranges(self) -> None:
        """Tenths of all device time by buckets of budgets: a state is in the first whose end it reaches."""
        self._make(
            "edge",
            """WITH held AS (SELECT max(budget_bytes) AS budget_bytes, sum(e - a) AS ns FROM s0
                            GROUP BY class(budget_bytes)),
                    done AS (SELECT budget_bytes, sum(ns) OVER (ORDER BY budget_bytes) AS done,
                                    sum(ns) OVER () AS whole FROM held)
               SELECT k, min(budget_bytes) AS budget FROM done, range(1, 10) r(k)
               WHERE done * 10 >= whole * k AND whole > 0 GROUP BY k""",
        )
        self._make(
            "s1",
            "SELECT s0.*, 1 + (SELECT count(*) FROM edge WHERE budget < budget_bytes) AS decile FROM s0",
        )
        self._make(
            "s",
            """SELECT *, min(budget_bytes) OVER d || ' to ' || max(budget_bytes) OVER d || ' bytes' AS range_
               FROM s1 WINDOW d AS (PARTITION BY decile)""",
        )

    def _static(self) -> str:
        """Return what a device belongs to for good, as columns of ``dev``."""
        labels = [
            f"coalesce(dev.labels[{key!r}], '(none)') AS {quoted('label.' + key)}" for key in self.labels
        ]
        return ", ".join(['dev."group" AS "group"', "dev.node AS node", *labels])

    def _pieces(self) -> None:
        since, stop = self.since_ns, self.stop_ns
        self._make(
            "on_network",
            f"""SELECT n, v AS network, t AS a, coalesce(lead(t) OVER (PARTITION BY n ORDER BY t), {FOREVER})
                       AS e
                FROM (SELECT n, t, v FROM moved UNION ALL
                      SELECT n, -1, network FROM dev) """,
        )
        self._make("stage_or_none",
                   f"SELECT * FROM stage UNION ALL SELECT NULL, 0, {FOREVER} "
                   f"WHERE NOT EXISTS (FROM stage)")  # fmt: skip
        self._make(
            "p0",
            f"""SELECT s.* EXCLUDE (pressure), w.network, g.name AS stage, s.pressure,
                       CAST(s.decile AS VARCHAR) AS budget_decile, s.range_ AS budget_range,
                       greatest(s.a, w.a, g.a, {since}) AS t, least(s.e, w.e, g.b, {stop}) AS until
                FROM s JOIN on_network w ON w.n = s.n AND w.a < s.e AND w.e > s.a
                JOIN stage_or_none g ON g.a < s.e AND g.b > s.a""",
        )
        self._make(
            "p",
            f"""SELECT p0.* EXCLUDE (user_group), CAST(p0.user_group AS VARCHAR) AS user_group,
                       {self._static()},
                       (until - p0.t) / 1e9::DOUBLE AS seconds
                FROM p0 JOIN dev ON dev.n = p0.n
                WHERE until > p0.t""",
        )

    def _rows(self) -> None:
        """Give every event what it belongs to; an exchange does so by the moment at which its report left."""
        sources: Mapping[str, tuple[str, str]] = {
            "u": ("raw_update", "sent_ns"), "b": ("b0", "t_ns"), "c": ("c0", "t_ns"),
            "f": ("raw_fault", "t_ns"), "x": ("x0", "t"), "q": ("raw_quality", "t_ns"), "i": ("i0", "t_ns"),
        }  # fmt: skip
        self._budgets()
        self._connections()
        self._spells()
        self._visits()
        moments = " UNION ".join(f"SELECT n, {t} AS t FROM {source}" for source, t in sources.values())
        self._make("last_s", "SELECT n, t_ns AS t, max(k) AS k FROM s GROUP BY n, t_ns")
        self._make(
            "belongs",
            f"""SELECT m.n, m.t, {self._static()}, coalesce(w.v, dev.network) AS network,
                       CAST(CASE WHEN l.k IS NULL THEN dev.user_group ELSE s.user_group END AS VARCHAR)
                       AS user_group,
                       (SELECT name FROM stage WHERE m.t >= a AND m.t < b) AS stage,
                       s.pressure, CAST(s.decile AS VARCHAR) AS budget_decile, s.range_ AS budget_range
                FROM ({moments}) m JOIN dev ON dev.n = m.n
                ASOF LEFT JOIN moved w ON w.n = m.n AND m.t >= w.t
                ASOF LEFT JOIN last_s l ON l.n = m.n AND m.t >= l.t
                LEFT JOIN s ON s.n = m.n AND s.k = coalesce(l.k, 1)""",
        )
        dimensions = ", ".join(f"belongs.{quoted(each)}" for each in self.dimensions)
        for name, (source, t) in sources.items():
            own = {"b": "* EXCLUDE (pressure)", "q": "* EXCLUDE (pressure, user_group)",
                   "i": "* EXCLUDE (user_group)"}.get(name, "*")  # fmt: skip
            self._make(
                name,
                f"""SELECT e.{own}, {dimensions} FROM {source} e
                    JOIN belongs ON belongs.n = e.n AND belongs.t = e.{t} WHERE e.{t} >= {self.since_ns}""",
            )
        self._make(
            "k",
            """SELECT *, CASE sent WHEN 'none' THEN 'control' WHEN 'nothing' THEN 'control' ELSE sent END
                      AS kind, used_bytes AS v FROM u
               UNION ALL SELECT *, 'wasted', update_bytes - used_bytes - lost_bytes FROM u
               UNION ALL SELECT *, 'lost', lost_bytes FROM u""",
        )
        of_messages = f"n, {dimensions.replace('belongs.', '')}"
        self._make(
            "m",
            f"""SELECT sent_ns AS t, report_wire_bytes AS v, {of_messages} FROM u
                UNION ALL SELECT t_ns, message_wire_bytes, {of_messages} FROM q WHERE message_wire_bytes > 0
                UNION ALL SELECT t_ns, message_wire_bytes, {of_messages} FROM c
                WHERE message_wire_bytes > 0 AND online""",
        )
        names = ", ".join(f"'{each}'" for each in ("all", *self.dimensions))
        values = ", ".join(["''", *map(quoted, self.dimensions)])
        for name in (*sources, "k", "p", "m"):
            self._make(
                f"{name}_by",
                f"SELECT *, unnest([{names}]) AS dimension, unnest([{values}]) AS value FROM {name}",
            )

    def _budgets(self) -> None:
        """Budget changes: how large each was, and how long until what was held fitted."""
        self._make(
            "b1",
            """SELECT *, row_number() OVER w = 1 AS first,
                      budget_bytes - coalesce(lag(budget_bytes) OVER w, 0) AS step
               FROM raw_budget WINDOW w AS (PARTITION BY n ORDER BY t_ns, "order")""",
        )
        self._make(
            "b0",
            f"""SELECT b1.*, CASE WHEN first THEN 'first' WHEN step < 0 THEN 'down' ELSE 'up' END
                       AS direction,
                       CASE WHEN resident_bytes <= budget_bytes THEN 0 ELSE greatest(0, coalesce(
                           (SELECT min(s.a) FROM s WHERE s.n = b1.n AND s.resident_bytes <= s.budget_bytes
                            AND s.k >= (SELECT max(k) FROM s x WHERE x.n = b1.n AND x.t_ns <= b1.t_ns)),
                           {self.stop_ns}) - t_ns) END AS fit_ns
                FROM b1""",
        )

    def _connections(self) -> None:
        self._make(
            "c0",
            f"""SELECT *, lead(t_ns) OVER w AS next_ns,
                       greatest(coalesce(lead(t_ns) OVER w, {self.stop_ns}) - t_ns, 0) AS away_ns
                FROM raw_connection WINDOW w AS (PARTITION BY n ORDER BY t_ns, "order")""",
        )

    def _visits(self) -> None:
        """Visits and exchanges, with the classes of visits in words."""
        ages = {"1h": 3600, "6h": 21_600, "1d": 86_400, "3d": 259_200, "7d": 604_800, "14d": 1_209_600}
        of_age = " ".join(
            f"WHEN age_ns < {1_000_000_000 * end} THEN 'below_{name}'" for name, end in ages.items()
        )
        known = {"0": 1, "1_to_4": 5, "5_to_19": 20, "20_to_99": 100}
        of_known = " ".join(f"WHEN known < {end} THEN '{name}'" for name, end in known.items())
        self._make(
            "i0",
            f"""SELECT *, CASE WHEN newcomer THEN 'yes' ELSE 'no' END AS joined,
                       CASE WHEN age_ns < 0 THEN NULL {of_age} ELSE 'from_14d' END AS age_class,
                       CASE {of_known} ELSE 'from_100' END AS known_class FROM raw_interaction""",
        )

    def _spells(self) -> None:
        """What is one value for several states: falls of quality, changes of pressure, spells."""
        self.con.execute("CREATE TABLE x0 (what VARCHAR, n BIGINT, t BIGINT, v BIGINT, f VARCHAR, g VARCHAR)")
        self.con.execute(
            """INSERT INTO x0 SELECT 'pressure', n, t_ns, 1, pressure_before, pressure FROM s
               WHERE pressure <> pressure_before"""
        )
        self.con.execute(
            """INSERT INTO x0
               WITH RECURSIVE before AS (
                   SELECT n, k, t_ns, q, lag(q) OVER (PARTITION BY n ORDER BY k) AS q0 FROM s),
               fall AS (
                   SELECT b.n, b.k, b.t_ns, min(o.k) AS back, min_by(o.t_ns, o.k) AS back_ns
                   FROM before b LEFT JOIN before o ON o.n = b.n AND o.k > b.k AND o.q >= 0.95::DOUBLE * b.q0
                   WHERE b.q < 0.95::DOUBLE * b.q0 GROUP BY b.n, b.k, b.t_ns),
               linked AS (
                   SELECT f.*, (SELECT min(g.k) FROM fall g WHERE g.n = f.n AND g.k >= f.back) AS next
                   FROM fall f),
               chain AS (
                   SELECT n, min(k) AS k FROM fall GROUP BY n
                   UNION ALL
                   SELECT l.n, l.next FROM chain JOIN linked l USING (n, k) WHERE l.next IS NOT NULL)
               SELECT 'recovery', n, t_ns, back_ns - t_ns, NULL, NULL
               FROM chain JOIN fall USING (n, k) WHERE back IS NOT NULL"""
        )
        for what, holds in (
            ("below_best", "layer < best_layer"),
            ("low_quality", "ndcg_at_10 < 0.95::DOUBLE * full_ndcg_at_10"),
        ):
            self.con.execute(
                f"""INSERT INTO x0
                    SELECT '{what}', n, greatest(min(a), {self.since_ns}) AS t, max(e) - t, NULL, NULL FROM (
                        SELECT *, k - row_number() OVER (PARTITION BY n ORDER BY k) AS spell
                        FROM s WHERE {holds})
                    GROUP BY n, spell HAVING max(e) > greatest(min(a), {self.since_ns})"""
            )
        self.con.execute(
            """INSERT INTO x0
               SELECT 'longest', first.n,
                      coalesce(min_by(x0.t, (-x0.v, x0.t)), any_value(first.t)), coalesce(max(x0.v), 0),
                      NULL, NULL
               FROM (SELECT n, min(t) AS t FROM p GROUP BY n) first
               LEFT JOIN x0 ON x0.n = first.n AND x0.what = 'below_best' GROUP BY first.n"""
        )
