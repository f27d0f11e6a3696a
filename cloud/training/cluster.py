"""Stage 2: clustering of users with similar taste into groups.

This file does not import torch. Letters: U users, G user groups, d dimensions.
"""

import warnings

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning

from cloud.training.config import Training
from cloud.training.threads import limit_threads
from wire.arrays import Float32Array
from wire.random_streams import stream
from wire.ranking_metrics import FloatArray, IntArray

STARTS = 4  # number of random starts of k-means; the tightest result is kept


def cluster(users: Float32Array, config: Training) -> tuple[IntArray, dict[str, object]]:
    """Divide users into groups, numbered by falling size.

    Args:
        users: the users' vectors, shape (U, d); only their directions count.
        config: the number of groups, their smallest size, and the method.

    Returns:
        The group of each user, shape (U,), and the report.
    """
    directions = _normalise(users)
    count = max(1, min(config.user_groups, len(users) // config.min_group_size))
    match config.clustering:
        case "kmeans":
            labels = _k_means(directions, count, config.seed)
        case "random":
            labels = stream(config.seed, "cluster", "random").permutation(len(users)) % count
        case "off":
            labels = np.zeros(len(users), dtype=np.int64)
    groups = renumber_by_size(merge_small(directions, labels, config.min_group_size))
    return groups, {
        "clustering": config.clustering,
        "user_groups": int(groups.max()) + 1,
        "users_per_group": np.bincount(groups).tolist(),
        "mean_cosine_to_centre": _mean_cosine(directions, groups),
    }


def merge_small(directions: FloatArray, labels: IntArray, least: int) -> IntArray:
    """Return *labels* with each group of fewer than *least* users merged into its nearest neighbour.

    The smallest group is merged first, of equal ones that with the lower label. The nearest group is the one
    with the nearest mean.
    """
    labels = labels.copy()
    while True:
        existing, sizes = np.unique(labels, return_counts=True)
        if len(existing) == 1 or sizes.min() >= least:
            return labels
        smallest = int(sizes.argmin())
        centres = np.stack([directions[labels == label].mean(axis=0) for label in existing])  # (G, d)
        distances = np.linalg.norm(centres - centres[smallest], axis=1)
        distances[smallest] = np.inf
        labels[labels == existing[smallest]] = existing[distances.argmin()]


def renumber_by_size(labels: IntArray) -> IntArray:
    """Return *labels* renumbered 0, 1, ... by falling size, equal sizes by their first user."""
    _, first, inverse, sizes = np.unique(labels, return_index=True, return_inverse=True, return_counts=True)
    order = np.lexsort((first, -sizes))
    return np.argsort(order)[inverse].astype(np.int64)


def _k_means(directions: FloatArray, groups: int, seed: int) -> IntArray:
    state = int(stream(seed, "cluster", "k-means").integers(2**31))
    # With several threads the order of sums, their last digits and so a label could differ.
    with limit_threads(1), warnings.catch_warnings():
        # With fewer distinct users than groups, empty groups vanish when labels are renumbered.
        warnings.simplefilter("ignore", ConvergenceWarning)
        labels = KMeans(groups, n_init=STARTS, random_state=state).fit_predict(directions)
    return np.asarray(labels, dtype=np.int64)


def _normalise(users: NDArray[np.floating]) -> FloatArray:
    vectors = users.astype(np.float64)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(lengths > 0, lengths, 1.0)


def _mean_cosine(directions: FloatArray, groups: IntArray) -> float:
    """Return the mean cosine between users and the centres of their groups."""
    centres = np.stack([directions[groups == group].mean(axis=0) for group in range(groups.max() + 1)])
    return float(np.einsum("ud,ud->u", directions, _normalise(centres)[groups]).mean())
