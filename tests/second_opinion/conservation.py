"""Laws that hold in every run: what is counted adds up, and time only goes on."""

from collections.abc import Iterator

from tests.second_opinion.plan import Plan
from tests.second_opinion.tables import Tables

TABLES = ("u", "b", "c", "f", "x", "p", "k")

LAWS = {
    "times of an exchange rise": """SELECT count(*) FROM raw_update WHERE NOT (
        changed_ns <= sent_ns AND sent_ns <= t_ns AND (arrived_ns < 0 OR arrived_ns >= sent_ns)
        AND (begun_ns < 0 OR begun_ns >= arrived_ns) AND (left_ns < 0 OR left_ns >= begun_ns)
        AND (answered_ns < 0 OR answered_ns >= left_ns) AND (received_ns < 0 OR received_ns >= answered_ns)
        AND (applied_ns < 0 OR applied_ns >= received_ns))""",
    "the parts of a latency add up": """SELECT count(*) FROM raw_update WHERE result = 'applied' AND
        applied_ns - changed_ns <> (sent_ns - changed_ns) + (arrived_ns - sent_ns) + (begun_ns - arrived_ns)
        + (left_ns - begun_ns) + (received_ns - left_ns) + (applied_ns - received_ns)""",
    "no bytes come from nowhere": """SELECT count(*) FROM raw_update
        WHERE used_bytes < 0 OR lost_bytes < 0 OR used_bytes + lost_bytes > update_bytes""",
    "what was sent has a frame": "SELECT count(*) FROM raw_update WHERE update_bytes > update_wire_bytes",
    "copies are copies of something": """SELECT count(*) FROM raw_update
        WHERE copied_bytes > 0 AND copied_bytes * 3 > update_bytes * 2""",
    "each report ends once": """SELECT count(*) FROM (
        SELECT n, seq FROM raw_update GROUP BY n, seq HAVING count(*) > 1)""",
    "connections alternate": """SELECT count(*) FROM (SELECT online, lag(online) OVER (
        PARTITION BY n ORDER BY t_ns, "order") AS before FROM raw_connection) WHERE online = before""",
    "states know of connections": """SELECT count(*) FROM s ASOF JOIN (
        SELECT n, t_ns, arg_max(online, "order") AS online FROM raw_connection GROUP BY n, t_ns) c
        ON c.n = s.n AND s.t_ns > c.t_ns WHERE s.online <> c.online
        AND NOT EXISTS (FROM raw_connection r WHERE r.n = s.n AND r.t_ns = s.t_ns)""",
    "a budget change is a state": """SELECT count(*) FROM raw_budget b WHERE NOT EXISTS (
        FROM s WHERE s.n = b.n AND s.t_ns = b.t_ns AND s.budget_bytes = b.budget_bytes)""",
    "rows of a device have an order": """SELECT count(*) FROM (SELECT n, "order" FROM (
        SELECT n, "order" FROM raw_budget UNION ALL SELECT n, "order" FROM raw_update
        UNION ALL SELECT n, "order" FROM raw_quality UNION ALL SELECT n, "order" FROM raw_connection
        UNION ALL SELECT n, "order" FROM raw_fault UNION ALL SELECT n, "order" FROM raw_rollout)
        GROUP BY n, "order" HAVING count(*) > 1)""",
    "layers are sizes": """SELECT count(*) FROM s WHERE (layer = 0) <> (resident_bytes = 0)""",
    "a report without an answer has a reason": """SELECT count(*) FROM raw_update u WHERE sent = 'none'
        AND result <> 'superseded' AND NOT EXISTS (FROM raw_fault f WHERE f.n = u.n AND f.seq = u.seq)""",
}  # fmt: skip
"""So many rows break each law."""
OF_EVICTION = {
    "who evicts is never over budget": "SELECT count(*) FROM s WHERE resident_bytes > budget_bytes"
}


def broken_laws(tables: Tables, plan: Plan) -> Iterator[str]:
    """Yield the laws that the run breaks."""
    evicting = plan.scenario["updates"]["local_eviction"]
    for law, sql in (LAWS | OF_EVICTION if evicting else LAWS).items():
        broken = tables.number(sql)
        if broken:
            yield f"{law}: {broken} rows do not"
    for name in TABLES:
        for dimension in tables.dimensions:
            lost = tables.number(
                f"SELECT count(*) FROM {name}_by WHERE dimension = '{dimension}' AND value IS NULL"
            )
            if lost:
                yield f"each row of {name} has its {dimension}: {lost} rows do not"
