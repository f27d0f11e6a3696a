import numpy as np

from devices.timeline.visits import FleetVisits
from wire.ranking_metrics import ItemLists


def lists(*of_users: list[int]) -> ItemLists:
    users = np.repeat(np.arange(len(of_users)), [len(of_user) for of_user in of_users])
    items = np.array([item for of_user in of_users for item in of_user], dtype=np.int64)
    return ItemLists.of_pairs(users, items, len(of_users))


def test_interactions_of_one_moment_are_one_visit() -> None:
    known = lists([0], [1, 2], [], [])
    events = [(2, 50, 0), (0, 30, 2), (0, 10, 1), (0, 30, 1), (2, 50, 9), (1, 5, 7)]
    users, times_ns, items = np.array(events, dtype=np.int64).T
    visits = FleetVisits.of_events(users, times_ns, items, known, members=2, n_items=5)
    ann = visits.of(0)
    assert (ann.times_ns.tolist(), ann.starts.tolist(), ann.items.tolist()) == (
        [10, 30],
        [0, 1, 3],
        [1, 1, 2],
    )
    nobody = visits.of(3)
    assert (nobody.times_ns.tolist(), nobody.starts.tolist(), nobody.items.tolist()) == ([], [0], [])
    assert visits.newcomers.tolist() == [False, False, True, True]
    assert visits.users.tolist() == [0, 1, 2]
    assert [visits.first_ns(user) for user in (0, 1, 2)] == [10, 5, 50]
    # Items 7 and 9 are not in the model: they are met, but no ranking can hold them.
    assert [visits.met[user].tolist() for user in range(4)] == [[1, 2], [], [0], []]
