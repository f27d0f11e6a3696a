"""PEEL against the best baseline at each budget."""

from dataclasses import dataclass

from benchmarks.quality.bootstrap import Band, Curves, ratio
from benchmarks.quality.catalogue import BEST, CONTROLS, FULL


@dataclass(frozen=True)
class Duel:
    """PEEL and, at one budget, the baseline that is best on the test: the choice favours the rival."""

    budget_share: float
    rival: str
    of_full: Band
    """PEEL's NDCG@20 as a share of the full table's."""
    of_rival: Band
    """PEEL's NDCG@20 as a multiple of the rival's."""
    tail_of_full: Band
    """PEEL's tail recall as a share of the full table's."""


def duels(found: Curves) -> list[Duel]:
    """Return a duel for each budget at which PEEL and some baseline were measured."""
    return [_duel(found, share) for share in found.shares(BEST) if rivals(found, share)]


def rivals(found: Curves, share: float) -> list[tuple[str, float]]:
    """Return the baselines that fit into *share*: at that budget, or of one smaller size."""
    names = [
        name for name in found.methods() if not name.startswith(("peel:", "paper:")) and name not in CONTROLS
    ]
    fitting = {name: [each for each in found.shares(name) if each <= share] for name in names}
    return [(name, max(shares)) for name, shares in fitting.items() if shares]


def best_rival(found: Curves, share: float) -> tuple[str, float]:
    """Return the baseline with the best NDCG@20 on the test among those that fit into *share*."""
    return max(rivals(found, share), key=lambda key: found.bands[key]["ndcg_at_20"].mean)


def _duel(found: Curves, share: float) -> Duel:
    ours, full = (BEST, share), (FULL, max(found.shares(FULL)))
    rival = best_rival(found, share)
    return Duel(
        share,
        rival[0],
        ratio(found, ours, full, "ndcg_at_20"),
        ratio(found, ours, rival, "ndcg_at_20"),
        ratio(found, ours, full, "tail_recall_at_20"),
    )
