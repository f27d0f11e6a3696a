import numpy as np

from cloud.data.drift import Drift, drift
from cloud.data.interactions import LaterInteractions
from cloud.data.load import load
from cloud.data.sources import Synthetic
from cloud.data.synthetic import build_world
from wire.ranking_metrics import IntArray
from wire.units import TIME_UNITS, Duration

DAY_S = 86_400.0
WORLD = Synthetic(users=40, items=1600, user_groups=4, item_kinds=8, interactions_per_user=20)
INTERACTIONS = load(WORLD)


def lives(settings: Drift, days: float = 30) -> LaterInteractions:
    return drift(WORLD, settings, INTERACTIONS, days * DAY_S)


def test_nobody_meets_an_item_twice_and_newcomers_join_over_time() -> None:
    later = lives(Drift(newcomers=0.5))
    pairs = list(zip(later.users.tolist(), later.items.tolist(), strict=True))
    known = set(zip(*map(np.ndarray.tolist, INTERACTIONS.known.pairs()), strict=True))
    assert len(set(pairs)) == len(pairs)
    assert not known & set(pairs)
    assert (np.diff(later.times_s) >= 0).all()
    assert len(later.new_user_ids) == 20
    first = dict(zip(later.users[::-1].tolist(), later.times_s[::-1].tolist(), strict=True))
    joined = [time / DAY_S for user, time in first.items() if user >= 40]
    assert len(joined) == 20
    assert np.histogram(joined, [0, 10, 20, 30])[0].min() > 0
    assert np.median([time / DAY_S for user, time in first.items() if user < 40]) < 2


def test_a_user_lives_the_same_life_whoever_else_is_there_and_however_long_the_run_is() -> None:
    def life(later: LaterInteractions, days: float) -> list[tuple[float, int]]:
        chosen = (later.users == 7) & (later.times_s < days * DAY_S)
        return list(zip(later.times_s[chosen].tolist(), later.items[chosen].tolist(), strict=True))

    once = life(lives(Drift()), 10)
    assert once == life(lives(Drift(newcomers=0.0)), 10) == life(lives(Drift(), days=10), 10)
    assert once != life(lives(Drift(seed=1)), 10)


def test_tastes_move_by_the_half_life() -> None:
    """Kinds that a user liked in training are met less and less; with a very long half-life they stay."""
    kinds = kinds_of_items()
    liked = np.stack([np.bincount(kinds[INTERACTIONS.train[user]], minlength=8) for user in range(40)])

    def agreement(half_life_days: float, first_day: float, last_day: float) -> float:
        settings = Drift(
            taste_half_life=Duration(round(half_life_days * TIME_UNITS["d"])), newcomers=0.0, visits_per_day=2
        )
        later = lives(settings)
        now = (later.times_s >= first_day * DAY_S) & (later.times_s < last_day * DAY_S)
        met = np.zeros((40, 8))
        np.add.at(met, (later.users[now], kinds[later.items[now]]), 1.0)
        both = [np.corrcoef(liked[user], met[user])[0, 1] for user in range(40) if met[user].std() > 0]
        return float(np.mean(both))

    assert agreement(3, 0, 2) > agreement(3, 13, 15) + 0.2
    assert agreement(10_000, 13, 15) > agreement(3, 13, 15) + 0.2


def kinds_of_items() -> IntArray:
    numbers = [int(name.removeprefix("item-")) for name in INTERACTIONS.item_ids]
    return build_world(WORLD).kind_of[numbers]
