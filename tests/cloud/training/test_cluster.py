import numpy as np
import pytest

from cloud.training.cluster import cluster, merge_small, renumber_by_size
from cloud.training.config import Training
from wire.arrays import Float32Array
from wire.random_streams import stream


def three_bundles() -> tuple[Float32Array, list[int]]:
    """Return users in three directions, 10, 30 and 20 of them, of all lengths; and whose they are."""
    truth = [0] * 10 + [1] * 30 + [2] * 20
    rng = stream(0, "bundles")
    directions = np.eye(3)[truth] + rng.normal(0, 0.05, (60, 3))
    return (directions * rng.uniform(0.1, 10, (60, 1))).astype(np.float32), truth


def test_bundles_are_found_and_numbered_by_size() -> None:
    users, truth = three_bundles()
    groups, report = cluster(users, Training(user_groups=3, min_group_size=5))
    assert groups.tolist() == [{0: 2, 1: 0, 2: 1}[bundle] for bundle in truth]
    assert report["users_per_group"] == [30, 20, 10]


def test_a_small_group_joins_the_nearest() -> None:
    users, truth = three_bundles()
    users[:10] = users[30:40] + users[:10] * 0.5  # the small bundle now lies near the large one
    joined = merge_small(users / np.linalg.norm(users, axis=1, keepdims=True), np.array(truth), 11)
    assert joined.tolist() == [1] * 40 + [2] * 20


def test_there_are_never_more_groups_than_their_least_size_allows() -> None:
    users, _ = three_bundles()
    for least, most in ((20, 3), (30, 2), (31, 1), (1000, 1)):
        groups, _ = cluster(users, Training(user_groups=16, min_group_size=least))
        sizes = np.bincount(groups)
        assert len(sizes) <= most
        assert len(sizes) == 1 or sizes.min() >= least


@pytest.mark.parametrize(("clustering", "sizes"), [("random", [20, 20, 20]), ("off", [60])])
def test_controls_need_no_tastes(clustering: str, sizes: list[int]) -> None:
    users, _ = three_bundles()
    config = Training(clustering=clustering, user_groups=3, min_group_size=5)  # type: ignore[arg-type]
    assert np.bincount(cluster(users, config)[0]).tolist() == sizes


def test_users_that_are_all_the_same_are_one_group() -> None:
    groups, _ = cluster(np.zeros((50, 4), np.float32), Training(user_groups=4, min_group_size=2))
    assert groups.tolist() == [0] * 50


def test_equal_sizes_are_numbered_by_their_first_user() -> None:
    assert renumber_by_size(np.array([7, 3, 3, 9, 7, 9, 9])).tolist() == [1, 2, 2, 0, 1, 0, 0]
