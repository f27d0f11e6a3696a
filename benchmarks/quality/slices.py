"""Distribution of quality over user groups, activity and demography, and the slices with the worst quality.

All figures are of the first seed. The worst slice keeps the smallest share of the quality of the full table;
among equal ones, and so for the full table itself, it is the one with the lowest NDCG@20.
"""

import csv
import html
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from benchmarks.quality.compare import Result
from cloud.data.interactions import Interactions
from cloud.training.baselines.scoring import METRICS, UserMetrics
from wire.ranking_metrics import IntArray

Labels = NDArray[np.str_]
"""Label of each user, shape (U,)."""


class Part(msgspec.Struct, frozen=True):
    """Some users, by one method at one budget."""

    method: str
    budget_share: float
    kind: str
    part: str
    users: int
    ndcg_at_20: float
    share_of_full: float
    tail_recall_at_20: float
    worst: bool


def labels(interactions: Interactions, groups: IntArray | None, folder: Path | None) -> dict[str, Labels]:
    """Return all labels by which users can be divided.

    Args:
        interactions: activity is the number of training interactions.
        groups: PEEL's user groups, shape (U,), if there are any.
        folder: may contain ``user_map.csv``, with columns uid, gender and age.
    """
    by_kind = {"activity": _quartiles(interactions.train.counts())}
    if groups is not None:
        by_kind["user group"] = np.array([f"group {group:02d}" for group in groups.tolist()])
    file = folder / "user_map.csv" if folder else None
    if file is not None and file.is_file():
        by_kind |= _demography(file, interactions.user_ids)
    return by_kind


def parts(results: Sequence[Result], full: Result, kinds: Mapping[str, Labels]) -> list[Part]:
    """Return each part of the users with each of *results*."""
    rows_of_parts: list[Part] = []
    for result in results:
        for kind, labels in kinds.items():
            rows = [_part(result, full.scored, kind, part, labels) for part in np.unique(labels).tolist()]
            rows = [row for row in rows if row.users]
            worst = min(rows, key=lambda row: (row.share_of_full, row.ndcg_at_20))
            rows_of_parts += [msgspec.structs.replace(row, worst=row is worst) for row in rows]
    return rows_of_parts


def write_parts(rows_of_parts: Sequence[Part], title: str, stem: Path) -> None:
    """Write the parts as JSON and as a page."""
    encoded = msgspec.json.format(msgspec.json.encode(rows_of_parts), indent=1)
    stem.with_suffix(".json").write_bytes(encoded + b"\n")
    stem.with_suffix(".html").write_text(_page(rows_of_parts, title), encoding="utf-8")


def _part(result: Result, full: UserMetrics, kind: str, part: str, labels: Labels) -> Part:
    members = labels[result.scored.users] == part
    ndcg, tail = (result.scored.values[METRICS.index(name)][members] for name in ("ndcg_at_20", METRICS[2]))
    best = full.values[0][members]
    mean, full_mean = (float(values.mean()) if len(values) else 0.0 for values in (ndcg, best))
    tail_mean = float(np.nanmean(tail)) if np.isfinite(tail).any() else 0.0
    share = mean / full_mean if full_mean > 0 else 1.0
    return Part(
        result.method, result.budget_share, kind, part, int(members.sum()), mean, share, tail_mean, False
    )


def _quartiles(counts: IntArray) -> Labels:
    bounds = np.quantile(counts, [0.25, 0.5, 0.75])
    names = np.array(["1 least active", "2", "3", "4 most active"])
    return np.asarray(names[np.searchsorted(bounds, counts, side="left")])


def _demography(file: Path, user_ids: Sequence[str]) -> dict[str, Labels]:
    with file.open(encoding="utf-8", newline="") as lines:
        rows = {row["uid"]: row for row in csv.DictReader(lines)}
    return {
        kind: np.array([rows[user][kind] if user in rows else "unknown" for user in user_ids])
        for kind in ("gender", "age")
    }


def _page(rows_of_parts: Sequence[Part], title: str) -> str:
    columns = [name for name in Part.__struct_fields__ if name != "worst"]
    head = "".join(f"<th>{name.replace('_', ' ')}</th>" for name in columns)
    body = "\n".join(_line(row, columns) for row in rows_of_parts)
    style = (
        "body{font:15px system-ui;margin:2em}table{border-collapse:collapse}"
        "td,th{padding:3px 12px;text-align:right;border-bottom:1px solid #ddd}.worst{background:#fdf1ea}"
    )
    return (
        f'<!DOCTYPE html><html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f"<style>{style}</style><h1>{html.escape(title)}</h1><p>The worst part of each kind is coloured: "
        "the one that keeps the smallest share of what the full table gives it.</p>"
        f"<table><tr>{head}</tr>\n{body}\n</table></html>\n"
    )


def _line(row: Part, columns: Sequence[str]) -> str:
    values = (getattr(row, name) for name in columns)
    cells = "".join(
        f"<td>{f'{value:.4f}' if isinstance(value, float) else html.escape(str(value))}</td>"
        for value in values
    )
    return f'<tr class="worst">{cells}</tr>' if row.worst else f"<tr>{cells}</tr>"
