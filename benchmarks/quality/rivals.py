"""PEEL against the best table at each budget."""

from dataclasses import dataclass

from benchmarks.quality.catalogue import BEST, CONTROLS
from benchmarks.quality.intervals import Band, Curves, ratio
from cloud.training.baselines.catalogue import FULL


@dataclass(frozen=True)
class Duel:
    """PEEL and, at one budget, the table that is best on the test: the choice favours the rival."""

    budget_share: float
    rival: str
    rival_share: float
    """Of the fp32 table; of a rival of one size, its own."""
    of_full: Band
    """PEEL's NDCG@20 as a share of the full table's."""
    of_rival: Band
    """PEEL's NDCG@20 as a multiple of the rival's."""
    tail_of_full: Band
    """PEEL's tail recall as a share of the full table's."""


def duels(curves: Curves) -> list[Duel]:
    """Return a duel for each budget at which PEEL and some baseline were measured."""
    return [_duel(curves, share) for share in curves.shares(BEST) if rivals(curves, share)]


def rivals(curves: Curves, share: float) -> list[tuple[str, float]]:
    """Return the tables that fit into *share*: at that budget, or of one smaller size."""
    names = [
        name for name in curves.methods() if not name.startswith(("peel:", "paper:")) and name not in CONTROLS
    ]
    fitting = {
        name: [candidate_share for candidate_share in curves.shares(name) if candidate_share <= share]
        for name in names
    }
    return [(name, max(shares)) for name, shares in fitting.items() if shares]


def best_rival(curves: Curves, share: float) -> tuple[str, float]:
    """Return the table with the best NDCG@20 on the test among those that fit into *share*."""
    return max(rivals(curves, share), key=lambda key: curves.bands[key]["ndcg_at_20"].mean)


def _duel(curves: Curves, share: float) -> Duel:
    ours, full = (BEST, share), (FULL, max(curves.shares(FULL)))
    rival = best_rival(curves, share)
    return Duel(
        share,
        *rival,
        ratio(curves, ours, full, "ndcg_at_20"),
        ratio(curves, ours, rival, "ndcg_at_20"),
        ratio(curves, ours, full, "tail_recall_at_20"),
    )
